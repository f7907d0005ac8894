"""A recording of memory: who holds it, at every moment that matters and where it is highest.

Three things tell. A dispatch mode sees each operator, in the forward and the backward pass: what it makes is a storage
that lives until it is freed (:mod:`.memory_ledger`). Hooks for saved tensors see what autograd keeps for the backward
pass. Hooks on modules know the layer that is open, and mark the nodes of the autograd graph with it, so that in the
backward pass the node at work tells the layer. None of them changes a number of the program.

Code that ``torch.compile`` made would run uncompiled under a dispatch mode, and in pieces under hooks on modules
(:mod:`.following`). From when the program compiles, both are off: moments are exact still on devices that count by
themselves, but there is none around the forward pass, a peak is known to the phase alone, what is kept is not known by
layer, and temporaries are part of the workspace.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from . import following, memory_ledger
from .memory_account import MODEL, Account, Place
from .memory_autograd import AutogradHooks
from .memory_ledger import Saved, tensors
from .memory_names import Names, inventory, mark, marked_layer

COMPILED = "torch.compile is in use, and its code would run uncompiled if operators and modules were followed"
OWN_MODE = "the program follows its operators by a dispatch mode of its own"
_UNKNOWN = ""
"""The phase where nothing tells it."""
_T = TypeVar("_T")
_MAX_ROWS = 200_000


class _Watch(TorchDispatchMode):
    """Tells a recording of each operator."""

    supports_higher_order_operators = True

    def __init__(self, recording: Recording) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self._recording = recording

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        recording = self._recording
        recording.guarded(recording.entering, args, kwargs)
        result = func(*args, **kwargs)
        recording.guarded(recording.leaving, func, result)
        return result


class Recording:
    """A recording, from :meth:`begin` to :meth:`end`.

    Attributes:
        account: What was recorded.
        iterations: The iterations that are in it whole.
        on: Whether it is being recorded.
        full: Whether it ended by itself, because the file would become too large.
        why_not: Why operators are not followed; None where they are.
        unfollowed_from: The first iteration whose operators are not all known; None where there is none.
        failure: What went wrong in here, which ended the recording and left the program alone.
    """

    def __init__(self) -> None:
        self.account = Account()
        self.iterations: list[int] = []
        self.on = self.full = False
        self.why_not: str | None = None
        self.unfollowed_from: int | None = None
        self.failure: str | None = None
        self._names = Names()
        self._open = threading.local()
        self._phase = "data"
        self._iteration = 0
        self._roots: list[weakref.ref[nn.Module]] = []  # weak, lest what the program lets go of is kept
        self._optimizers: list[weakref.ref[Any]] = []
        self._handles: list[Any] = []
        self._module_handles: list[Any] = []
        self._watch: Any = None
        self._compiled = self._looked_around = False
        self._autograd = AutogradHooks(self._saved, before=self._before_backward, after=self._after_backward)

    def begin(self, iteration: int) -> None:
        """Takes stock of what there is and begins to watch; ``iteration`` is the one that comes next."""
        self._iteration = iteration
        self._take_stock()
        self.on = True
        os.register_at_fork(after_in_child=_silent_after(weakref.ref(self)))
        following.watch()
        following.on_compile(self._compiles)
        self._autograd.put_on()
        for root in _alive(self._roots):
            self._follow_gradients(root)
        if following.compiles(_alive(self._roots)):
            self._follow_no_more()
        else:
            self._hook_modules()
            self._watch_operators()
        self.account.open_iteration(self._phase_or_unknown("data"))

    def before_step(self, optimizer: Any = None) -> None:
        """The optimizer is about to change the weights."""
        self._retire_watch()
        self._know(optimizer)
        self.guarded(self._moment, "before_step")
        self._phase = "optimizer"

    def after_step(self, optimizer: Any = None) -> None:
        """It has: the iteration is over, the next one begins."""
        self._know(optimizer)
        self.guarded(self._moment, "after_step")
        self.guarded(self._next_iteration)
        self._phase = self._phase_or_unknown("data")

    def _next_iteration(self) -> None:
        self.account.close_iteration(self._iteration)
        self.iterations.append(self._iteration)
        self._iteration += 1
        if len(self.account.rows) > _MAX_ROWS:
            self.full = True
            self.end()
        else:
            self.account.open_iteration(self._phase_or_unknown("data"))

    def end(self, *, keep_unfinished: bool = False) -> None:
        """Watches no more, and leaves the program as it was found.

        Args:
            keep_unfinished: Where no iteration came to its end, whether what there is of one is kept as one.
        """
        if keep_unfinished and not self.iterations:
            self.guarded(self._next_iteration)
        self.on = False
        following.no_more(self._compiles)
        for handle in [*self._handles, *self._module_handles]:
            handle.remove()
        self._handles.clear()
        self._module_handles.clear()
        self._take_watch_off()
        self._autograd.take_off()

    def guarded(self, call: Callable[..., None], *args: Any) -> None:
        """Calls while it is recorded. An error in here ends the recording, and never the program."""
        if not self.on:
            return
        try:
            call(*args)
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.on = False
        self.failure = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"

    def entering(self, args: Any, kwargs: Any) -> None:
        """An operator is about to run."""
        self.account.entering(self.place(), tensors(kwargs, tensors(args)))

    def leaving(self, operator: Any, result: Any) -> None:
        """An operator has run."""
        self.account.leaving(self.place(operator), tensors(result), self.category())

    def place(self, operator: Any = None) -> Place:
        """Where the program is. In the backward pass the layer is that of the module whose node is at work."""
        stack = getattr(self._open, "layers", None)
        layer: str | None = stack[-1] if stack else None
        if layer is None and self._phase == "backward":
            layer = marked_layer()
        return Place(self._phase, layer or MODEL, operator)

    def category(self) -> str:
        """What an operator makes here, as far as it can be told now."""
        if self._phase == "data":
            return memory_ledger.INPUT  # a batch is made ready before the forward pass
        if self._phase == "backward" and not getattr(self._open, "layers", None):
            return memory_ledger.ACTIVATION_GRADIENTS
        return memory_ledger.TEMPORARIES

    def _moment(self, name: str) -> None:
        if self._compiled and not self._looked_around:  # no module will tell of itself
            self._looked_around = True
            for root in inventory().roots:
                self._meet(root)
        with self.account.lock:
            self._claim_training_state()
            self.account.moment(name, self.place())

    # What there is.

    def _take_stock(self) -> None:
        """Takes in all that lives: weights and what belongs to them by what they are, other tensors as input."""
        there = inventory()
        for root in there.roots:
            self._names.add(root)
            self._roots.append(weakref.ref(root))
        self._optimizers = [weakref.ref(optimizer) for optimizer in there.optimizers]
        for tensor in there.tensors:  # what an operator of the step before made, such as its loss, is no input
            category = memory_ledger.TEMPORARIES if _was_computed(tensor) else memory_ledger.INPUT
            self.account.ledger.see(tensor, category, MODEL)
        self._claim_training_state()

    def _know(self, optimizer: Any) -> None:
        if optimizer is not None and all(known is not optimizer for known in _alive(self._optimizers)):
            self._optimizers.append(weakref.ref(optimizer))

    def _claim_training_state(self) -> None:
        """Says of weights, buffers, gradients and the optimizers' state what they are and whose."""
        ledger = self.account.ledger
        optimizers = _alive(self._optimizers)
        parameters, buffers = self._names.owned(_alive(self._roots))
        stepped = [one for optimizer in optimizers for group in optimizer.param_groups for one in group["params"]]
        for tensor, layer in [*parameters, *((one, MODEL) for one in stepped)]:
            ledger.claim(tensor, memory_ledger.WEIGHTS, layer)
        for tensor, layer in buffers:
            ledger.claim(tensor, memory_ledger.BUFFERS, layer)
        for tensor in [*(one for one, _ in parameters), *stepped]:
            self._claim_gradient(tensor)
        for optimizer in optimizers:
            for key, state in list(optimizer.state.items()):
                owner = ledger.layer_of(key) if isinstance(key, torch.Tensor) else None
                for tensor in tensors(state):
                    ledger.claim(tensor, memory_ledger.OPTIMIZER_STATE, owner or MODEL)

    def _claim_gradient(self, parameter: Any) -> None:
        if parameter.is_leaf and parameter.grad is not None:
            layer = self.account.ledger.layer_of(parameter)
            self.account.ledger.claim(parameter.grad, memory_ledger.GRADIENTS, layer or MODEL)

    # What the program does.

    def _hook_modules(self) -> None:
        register = nn.modules.module
        self._module_handles += [
            register.register_module_forward_pre_hook(self._module_entered),
            register.register_module_forward_hook(self._module_left, always_call=True),
        ]

    def _follow_gradients(self, root: nn.Module) -> None:
        for parameter in root.parameters():
            if parameter.requires_grad and parameter.is_leaf:
                self._handles.append(parameter.register_post_accumulate_grad_hook(self._accumulated))

    def _meet(self, root: nn.Module) -> None:
        """A module was called that no other one called. It may be new."""
        if root not in self._names:
            self._names.add(root)
            self._roots.append(weakref.ref(root))
            self._follow_gradients(root)

    def _module_entered(self, module: nn.Module, given: Any) -> None:
        self.guarded(self._enter, module, given)

    def _module_left(self, _module: nn.Module, _given: Any, result: Any) -> None:
        self.guarded(self._leave, result)

    def _enter(self, module: nn.Module, given: Any) -> None:
        if following.is_compiled(module):
            self._follow_no_more()
        if self._compiled:
            return
        layers = getattr(self._open, "layers", None)
        if layers is None:
            layers = self._open.layers = []
        if not layers:
            self._meet(module)
        self.account.pass_by(self.place())
        mark(tensors(given), self.place().layer)  # what lies between modules belongs to the one around them
        if not layers and self._phase != "backward":
            for tensor in tensors(given):
                if tensor.is_leaf:
                    with self.account.lock:
                        self.account.ledger.claim(tensor, memory_ledger.INPUT, MODEL)
            if next(module.parameters(), None) is not None:
                self._moment("before_forward")
                self._phase = "forward"
        layers.append(self._names.of(module))

    def _leave(self, result: Any) -> None:
        layers = getattr(self._open, "layers", None)
        if not layers:
            return
        self.account.pass_by(self.place())
        mark(tensors(result), layers.pop())
        if not layers and self._phase == "forward":
            self._moment("after_forward")
            self._phase = "loss"

    def _accumulated(self, parameter: torch.Tensor) -> None:
        with self.account.lock:
            self.guarded(self._claim_gradient, parameter)

    def _before_backward(self) -> bool:
        if not self.on or self._phase == "backward":  # one inside another
            return False
        self.guarded(self._moment, "before_backward")
        self._phase = "backward"
        return True

    def _after_backward(self) -> None:
        self.guarded(self._moment, "after_backward")
        self._phase = self._phase_or_unknown("clip")

    def _saved(self, saved: Saved) -> None:
        self.guarded(self._keep, saved)

    def _keep(self, saved: Saved) -> None:
        with self.account.lock:
            self.account.ledger.save(saved, self.place().layer)

    def _phase_or_unknown(self, phase: str) -> str:
        """The phase that begins now; where modules are not followed, a forward pass may begin in it unseen."""
        return _UNKNOWN if self._compiled else phase

    # What is left alone.

    def _watch_operators(self) -> None:
        if following.innermost_mode() is not None:
            self._not_followed(OWN_MODE)
            return
        self._watch = _Watch(self)
        self._watch.__enter__()

    def _compiles(self) -> None:
        """The program is about to compile something. What follows it is on even in a recording that is off by now."""
        try:
            self._follow_no_more()
        except Exception as error:
            self._fail(error)

    def _follow_no_more(self) -> None:
        """Neither operators nor modules are followed from here on."""
        if self._compiled:
            return
        self._compiled = True
        self._not_followed(COMPILED)
        for handle in self._module_handles:
            handle.remove()
        self._module_handles.clear()
        self._open = threading.local()  # nobody will say that the layers which are open are left
        if self._phase in ("data", "forward", "loss", "clip"):
            self._phase = _UNKNOWN
        self._take_watch_off()

    def _not_followed(self, why_not: str) -> None:
        self.why_not = self.why_not or why_not
        if self.unfollowed_from is None:
            self.unfollowed_from = self._iteration

    def _retire_watch(self) -> None:
        """Takes the dispatch mode off that could not be when the program compiled."""
        if self._compiled:
            self._take_watch_off()

    def _take_watch_off(self) -> None:
        """Ends the dispatch mode, if it is on in this thread and nobody put another on top of it."""
        if self._watch is not None and following.innermost_mode() is self._watch:
            self._watch.__exit__(None, None, None)
            self._watch = None


def _silent_after(recording: weakref.ref[Recording]) -> Callable[[], None]:
    """What is called in a forked child: the recording there is off, since what is recorded is the parent's."""

    def forked() -> None:
        found = recording()
        if found is not None:
            found.on = False

    return forked


def _was_computed(tensor: torch.Tensor) -> bool:
    """Whether autograd knows the operator that made the tensor."""
    try:
        return tensor.requires_grad and tensor.grad_fn is not None
    except RuntimeError:  # of a view that was changed where autograd was off, it does not say
        return True


def _alive(references: list[weakref.ref[_T]]) -> list[_T]:
    """What the references refer to, as far as it lives; the others are dropped from the list."""
    found = [(reference, reference()) for reference in references]
    references[:] = [reference for reference, one in found if one is not None]
    return [one for _, one in found if one is not None]
