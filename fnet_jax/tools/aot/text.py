"""The report of a compiled step, for a person."""

from fnet_jax.core.mesh import describe_mesh
from fnet_jax.tools.aot.report import StepReport
from fnet_jax.tools.markdown import duration, markdown
from fnet_jax.train.memory import show_bytes

CAVEAT = "These are figures of the compiler and of data sheets. Nothing ran; no time here was measured."


def describe(report: StepReport) -> str:
    """The whole report."""
    parts = (_what(report), report.layout, _memory(report), _work(report), _links(report), [CAVEAT])
    return "\n\n".join("\n".join(lines) for lines in parts)


def _what(report: StepReport) -> list[str]:
    model = report.model
    return [
        f"topology     {report.topology}: {report.devices} devices, {report.device_kind}",
        f"mesh         {describe_mesh(report.mesh)}",
        f"step         {report.step}, batch {report.batch_size}, length {report.length}, {model['dtype']}",
        f"model        {report.layers}, width {model['d_model']}, vocabulary {model['vocab_size']:,}"
        + (", remat" if model["remat"] else ""),
        f"compiled in  {duration(report.compile_seconds)}",
    ]


def _memory(report: StepReport) -> list[str]:
    memory = report.memory
    rows = {
        "parameters": memory.parameters,
        "optimizer state": memory.optimizer,
        "batch": memory.batch,
        "temporaries": memory.temporaries,
        "peak": memory.peak,
        "the chip has": memory.available,
    }
    lines = [f"  {name:16s} {show_bytes(size):>10s}" for name, size in rows.items()]
    share = f"  ({memory.peak / memory.available:.0%})" if report.fits else "  does not fit"
    return ["memory per device", *lines[:-2], lines[-2] + share, lines[-1]]


def _work(report: StepReport) -> list[str]:
    bound = report.bound
    links = "links not published" if bound.links is None else f"{show_seconds(bound.links)} for the links"
    lines = [
        "per device and step",
        f"  {report.flops / 1e9:,.1f} GFLOP of matrix products and FFTs (the maths needs "
        f"{report.model_flops / 1e9:,.1f}), {show_seconds(bound.compute)} at peak",
        f"  {show_bytes(report.bytes)} to and from memory, {show_seconds(bound.memory)} at full bandwidth",
        f"  {show_seconds(bound.seconds)} or more for a step, by {bound.limit}; {links}",
        f"  {report.tokens_per_second:,.0f} tokens/s or less on all devices",
    ]
    if report.step == "train":
        lines.append(f"  {report.days_per_million_steps:.1f} days or more for a million steps")
    if report.silent_kernels:
        lines.append(
            f"  {report.silent_kernels} runs of custom kernels do not tell their FLOPs and count as 0"
        )
    return lines


def _links(report: StepReport) -> list[str]:
    if not report.collectives:
        return ["communication: none"]
    rows = [
        [
            collective.kind,
            str(len(collective.shapes)),
            show_bytes(collective.num_bytes),
            str(collective.executions),
            "yes" if collective.in_loop else "no",
            str(collective.group or "all"),
        ]
        for collective in report.collectives
    ]
    table = markdown(["kind", "arrays", "size", "runs", "in a loop", "devices"], rows).splitlines()
    lines = ["communication", *(f"  {line}" for line in table)]
    for collective in report.gathered:
        lines.append(
            f"  {show_bytes(collective.num_bytes)} are gathered on every device, as much as its activations "
            f"({show_bytes(report.activation)}), in {collective.origin}"
        )
    return lines


def show_seconds(seconds: float) -> str:
    """In ms, or µs below one."""
    return f"{1e3 * seconds:.1f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.0f} µs"
