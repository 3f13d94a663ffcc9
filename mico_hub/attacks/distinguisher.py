"""LiRA with shadow models of the target's own: all of its training records are known, but for the challenge.

Their margins are compared with the target's as LiRA does, with shrunken effects, for they are few.

Source: Ye et al. 2022, Enhanced Membership Inference Attacks against Machine Learning Models, attack L (leave one out),
here for all 2m records of a challenge at once.
"""

from mico_hub.attacks import lira
from mico_hub.attacks.base import Attack

ATTACKS = (
    Attack(
        "distinguisher",
        lira.shrunken,
        title="LiRA, models of the target's own",
        reference="Ye et al. 2022, Enhanced Membership Inference Attacks against Machine Learning Models",
        needs=("own_shadows",),
        with_few_shadows=lira.SHRUNKEN.with_few_shadows,
    ),
)
