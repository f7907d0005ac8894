"""How sure a number is: intervals over iterations, warm-up, outliers, clocks that changed, what the profiler cost."""
