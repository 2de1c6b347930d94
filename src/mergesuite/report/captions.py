"""What a reader is told below each figure: on our page, and in Snakemake's own report.

`snakemake --report` reads captions from files next to the workflow, workflow/report/*.rst. They
repeat these texts word for word; tests/unit/test_captions.py holds both together.
"""

CAPTIONS = {
    "reported": "Reported against measured. Diamonds: the paper's difference, in a band of the "
    "margin within which a measurement counts as equal. Dots: measured, with 95 % t interval, in "
    "the colour of the verdict. Squares: the same claim under protocol clean.",
    "leakage": "The gain of one method under each protocol, each with the BatchNorm treatment it "
    "prescribes. Hollow: the search saw test images. Small dots: single replicates; bars: 95 % t "
    "interval of the mean.",
    "gains": "Gain on test over the best parent with the same BatchNorm treatment (average: as "
    "trained). Small dots: replicates; bars: 95 % t interval; hollow: the search saw test images; "
    "an arrow: a mean off the scale.",
    "fitness": "Best fitness so far. Thin: replicates; thick: their mean while all of them run; "
    "dashed: searches that see test images. Horizontal: the best parent, as trained.",
    "segment": "Accuracy and cross-entropy on the straight line between two parents. A valley of "
    "the one and a hill of the other are a loss barrier: the parents' average is then no better "
    "than the middle. Thin: replicates; thick: their mean.",
    "verdicts": "One row per claim: what was compared, how, and the numbers behind its verdict.",
    "tables": "Mean and standard deviation over replicates; gains with 95 % t interval over pairs. "
    "A dagger marks what a search on test images produced.",
}
ALTERNATIVES = {
    "reported": "Dot plot of reported and measured differences, one row per claim",
    "leakage": "Dot plot of gains under protocols published, released and clean",
    "gains": "Strip plot of gains over the best parent, one row per method",
    "fitness": "Line plot of best fitness over fitness evaluations, one line per method",
    "segment": "Line plots of accuracy and cross-entropy from parent A to parent B",
}
"""What a screen reader says of each figure, in the order of the page."""
