"""Q-networks: a torso turns observations into features, a head values actions."""
