"""What a reader is told below each figure: on our page, and in Snakemake's own report.

`snakemake --report` reads captions from files next to the workflow, workflow/report/*.rst. They
repeat these texts word for word; tests/unit/test_captions.py holds both together.
"""

CAPTIONS = {
    "reported": "Reported against measured. Diamonds: the paper's difference (subject "
    "minus what it is against) or factor. Grey: less than the smallest effect of interest. "
    "Dots: measured, in the colour of the verdict below the name, with the interval that "
    "decides it: all of one family of claims hold at once in 95 % of studies. Squares: the "
    "held-out twin of a leaky search. An arrowhead with a number: a mean off the scale; "
    "without: an interval that goes on.",
    "waterfall": "Where the gain comes from. From the best parent to the leaky search on the same "
    "parents: each bar is what one more thing adds to the step before it, the last (hollow) what "
    "the sight of test images adds on those that it saw; lines: 95 % t interval of that "
    "difference over pairs. Below, dots: what those parents give without the method.",
    "trends": "The same differences where one thing changes, such as the width of the network: for "
    "each difference its populations from top to bottom. Small dots: "
    "replicates; lines: 95 % t interval over pairs; hollow: the search saw test images, and "
    "both sides are measured on those that it saw. An "
    "arrowhead with a number: a mean off the scale; without: an interval that goes on.",
    "leakage": "What a leak is worth. For each search that saw test images, under the BatchNorm "
    "treatment that it optimised: the gain of its twin on held-out images, what the leak adds over "
    "pairs of the same parents, and the leaky gain (hollow). All are on all test images: a search "
    "that saw a part of them has most of its leak there, as the waterfall shows. Small dots: "
    "replicates; lines: 95 % t interval of the mean, with an arrowhead where it leaves the scale.",
    "null": "Null calibration: what a search reports as its gain over the best parent, and what is "
    "left on test images, both under the BatchNorm treatment that it optimised. Orange: "
    "nothing can be gained, for the labels of the search images are permuted or the members "
    "are copies of one network; what is reported there is luck. Hollow diamonds: as the "
    "search counts it, on the images that it saw; dots: on test; lines: 95 % t interval. An "
    "arrowhead with a number: a mean off the scale; without: an interval that goes on.",
    "gains": "Gain on test over the best parent, picked on held-out images under the same "
    "BatchNorm treatment (average: as trained). Small dots: replicates; bars: 95 % t interval; "
    "hollow: the search saw test images. An arrowhead with a number: a mean off the scale; "
    "without: an interval that goes on.",
    "fitness": "Best fitness so far, one search per axis, with the images that it is scored on and "
    "its BatchNorm treatment. Thin: single searches; thick: their mean while all run, with its end "
    "in numbers; dashed: searches that see test images. Dotted: the best parent on the same images "
    "under the same treatment, where it was measured. The same height is the same gain in all axes "
    "of a metric, but for searches far more spread than the others.",
    "segment": "Accuracy and cross-entropy on the straight line between two parents. A valley of "
    "the one and a hill of the other are a loss barrier: the parents' average is then no better "
    "than the middle. Thin: replicates; thick: the mean of a grid.",
    "verdicts": "One row per claim: what was compared, how, and the numbers behind its verdict.",
    "tables": "Mean and standard deviation over replicates; gains with 95 % t interval over pairs; "
    "claims with the interval that decides them; controls with one that holds for all of them. A "
    "dagger marks what a search on test images produced.",
}
ALTERNATIVES = {
    "reported": "Dot plot of reported and measured differences, one row per claim",
    "waterfall": "Waterfall of bars from the best parent to the leaky search, one row per step",
    "trends": "Dot plot of differences, one row per line and population",
    "leakage": "Bars from the gain of a held-out twin to that of the leaky search",
    "null": "Dot plot of gains as searches report them and as they are on test, one row per search",
    "gains": "Strip plot of gains over the best parent, one row per method",
    "fitness": "Line plots of best fitness over fitness evaluations, one axis per search",
    "segment": "Line plots of accuracy and cross-entropy from parent A to parent B",
}
"""What a screen reader says of each figure, in the order of the page."""
