"""Facts about hardware counters: which chip has which metric, what can be wanted of them, what one count stands for."""
