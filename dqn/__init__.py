"""A DQN agent for Gymnasium's Atari environments, driven by a from-scratch RMSprop."""
