"""A PyTorch trace of training steps in which autograd runs the backward pass on a thread of its own, with its truth.

Thread 1 runs data, forward, loss and optimizer; thread 2, which autograd owns, runs the backward operators while thread
1 waits inside ``backward``. Ranges of phases and layers are recorded on thread 1 alone. Every kernel's phase, layer and
step are known because the generator put them there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PROCESS, MAIN, AUTOGRAD = 400, 401, 402
LAYERS = ("conv.0", "rnn.0", "fc")


@dataclass
class Trace:
    """Events so far, and for each kernel's name what it belongs to: (step, phase, layer)."""

    events: list = field(default_factory=list)
    truth: dict = field(default_factory=dict)
    now: float = 1000.0
    device: float = 1000.0
    correlation: int = 0
    sequence: int = 100

    def span(self, category, name, start, end, *, thread=MAIN, **arguments):
        self.events.append(
            {"ph": "X", "cat": category, "name": name, "pid": PROCESS, "tid": thread}
            | {"ts": start, "dur": end - start, "args": arguments}
        )

    def launch(self, name, belongs, *, thread=MAIN, kernels=1):
        """A launch call of two microseconds; its kernels run one after another once the device is free."""
        self.correlation += 1
        call = "cudaLaunchKernel" if kernels == 1 else "cudaGraphLaunch"
        self.span("cuda_runtime", call, self.now, self.now + 2, thread=thread, correlation=self.correlation)
        self.device = max(self.device, self.now + 5)
        for number in range(kernels):
            own = name if kernels == 1 else f"{name}.{number}"
            self.truth[own] = belongs
            self.events.append(
                {"ph": "X", "cat": "kernel", "name": own, "pid": 0, "tid": 7, "ts": self.device, "dur": 7.0}
                | {"args": {"device": 0, "stream": 7, "correlation": self.correlation}}
            )
            self.device += 7
        self.now += 3

    def forward(self, step, layer, *, phase="forward", records=True):
        """An operator that autograd records, in the range of its layer."""
        opened = self.now
        self.now += 1
        start = self.now
        self.launch(f"{step}/{phase}/{layer}", (step, phase, layer))
        numbers = {"Sequence number": self.sequence, "Fwd thread id": 0} if records else {}
        self.span("cpu_op", f"aten::{layer}", start, self.now, **numbers)
        self.sequence += records
        if layer is not None:
            self.span("user_annotation", f"ds2prof:layer:{layer}", opened, self.now + 1)
        self.now += 2

    def backward(self, step, layer, sequence):
        """The backward operator of the forward operator with that number, on autograd's thread."""
        start = self.now
        self.launch(f"{step}/backward/{layer}", (step, "backward", layer), thread=AUTOGRAD)
        numbers = {"Sequence number": sequence, "Fwd thread id": 1}
        name = f"{(layer or 'Loss').title()}Backward0"
        self.span("cpu_op", name, start, self.now, thread=AUTOGRAD, **numbers)
        evaluate = f"autograd::engine::evaluate_function: {name}"
        self.span("cpu_op", evaluate, start - 0.5, self.now + 0.5, thread=AUTOGRAD, **numbers)
        self.now += 2

    def step(self, step, *, phases):
        """One step; with ``phases`` the program records them."""
        begun = self.now
        opened = self.now
        first = self.sequence
        for layer in LAYERS:
            self.forward(step, layer)
        self._phase("forward", opened, phases)
        opened = self.now
        self.forward(step, None, phase="loss")
        self._phase("loss", opened, phases)
        opened = self.now
        for back, layer in enumerate((None, *reversed(LAYERS))):
            self.backward(step, layer, first + len(LAYERS) - back)
        self._phase("backward", opened, phases)
        opened = self.now
        self.launch(f"{step}/optimizer", (step, "optimizer", None), kernels=4)
        self.span("user_annotation", "Optimizer.step#SGD.step", opened, self.now)
        self._phase("optimizer", opened, phases)
        self.span("user_annotation", f"ProfilerStep#{step}", begun, self.now)
        self.now += 1

    def _phase(self, name, opened, recorded):
        if recorded:
            self.span("user_annotation", f"ds2prof:phase:{name}", opened, self.now)
        self.now += 1


def trace(*, steps=3, phases=True):
    """A trace of some steps."""
    made = Trace()
    for step in range(1, steps + 1):
        made.step(step, phases=phases)
    return made
