"""From runs of any source to one report: ``read``, ``compute``, ``show``, in that order.

``run`` is what a run is to a comparison, ``statistics`` the estimators, pure functions of arrays.
"""
