"""The emulated pbs_server's words, in the shapes that a Torque 6.1.3 was recorded with."""

from html import escape

from sandbox.torque.state import SERVER, JobFact, NodeFact, State, is_up, slots_taken, states_of

_STATUS = (
    "opsys=linux,uname=Linux {name} 6.18.44 #1 SMP PREEMPT_DYNAMIC @0 x86_64,sessions=20004,nsessions=1,nusers=1,idletime=222710,"
    "totmem=24684084kb,availmem=23888476kb,physmem=24684084kb,ncpus=2,loadave=0.08,gres=,netload=13308,state=free,varattr= ,"
    "cpuclock=Fixed,macaddr=92:48:e1:33:37:df,version=6.1.3.h5,rectime={now:.0f},jobs="
)


def _tag(name: str, text: object) -> str:
    return f"<{name}>{escape(str(text), quote=False)}</{name}>"


def render_nodes(state: State, names: list[str]) -> str:
    return "<Data>" + "".join(_node(state, state.nodes[name]) for name in names) + "</Data>\n"


def _node(state: State, node: NodeFact) -> str:
    tags = [_tag("name", node.name), _tag("state", states_of(state, node)), _tag("power_state", "Running"), _tag("np", node.np)]
    if node.properties:
        tags.append(_tag("properties", ",".join(node.properties)))
    tags.append(_tag("ntype", "cluster"))
    if taken := slots_taken(state, node):
        tags.append(_tag("jobs", ",".join(f"{span(slots)}/{job}" for job, slots in _by_job(taken).items())))
    if node.reported:
        now = state.now if is_up(state, node) else node.made_at
        tags.append(_tag("status", _STATUS.format(name=node.name, now=now)))
    if node.note:
        tags.append(_tag("note", node.note))
    tags += [_tag("mom_service_port", 15002), _tag("mom_manager_port", 15003)]
    if node.gpus:
        tags.append(_tag("gpus", node.gpus))
    return f"<Node>{''.join(tags)}</Node>"


def _by_job(taken: dict[int, str]) -> dict[str, list[int]]:
    jobs: dict[str, list[int]] = {}
    for slot, job in sorted(taken.items()):
        jobs.setdefault(job, []).append(slot)
    return jobs


def span(slots: list[int]) -> str:
    """`0-1,3`: as Torque writes slots."""
    runs: list[list[int]] = []
    for slot in sorted(slots):
        if runs and slot == runs[-1][-1] + 1:
            runs[-1].append(slot)
        else:
            runs.append([slot])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def render_jobs(state: State) -> str:
    """Arrays as one entry each."""
    shown = [job for job in state.jobs.values() if not job.task_of]
    if not shown:
        return "<Data></Data>\n"
    return '<?xml version="1.0"?>\n<Data>' + "".join(_job(job) for job in shown) + "</Data>\n"


def _job(job: JobFact) -> str:
    asked = "".join(_tag(name, value) for name, value in job.resources.items())
    if "nodes" in job.resources:
        asked += _tag("neednodes", job.resources["nodes"])
    tags = [
        _tag("Job_Id", job.job_id),
        _tag("Job_Name", job.name),
        _tag("Job_Owner", f"tqa@{SERVER}"),
        _tag("job_state", job.state),
    ]
    tags += [_tag("queue", job.queue), _tag("server", SERVER), _tag("ctime", f"{job.submitted_at:.0f}")]
    if job.begin_at:
        tags.append(_tag("Execution_Time", f"{job.begin_at:.0f}"))
    if job.depends_on:
        tags.append(_tag("depend", f"afterok:{job.depends_on}"))
    if job.where:
        hosts: dict[str, list[int]] = {}
        for name, slot in job.where:
            hosts.setdefault(name, []).append(slot)
        tags.append(_tag("exec_host", "+".join(f"{name}/{span(slots)}" for name, slots in hosts.items())))
    tags += [_tag("Hold_Types", job.holds), _tag("Priority", job.priority)]
    if not job.array:
        tags.append(_tag("qtime", f"{job.submitted_at:.0f}"))
    tags += [_tag("Rerunable", "True"), f"<Resource_List>{asked}</Resource_List>"]
    if job.array:
        tags.append(_tag("job_array_request", job.array))
    if job.exclusive:
        tags.append(_tag("node_exclusive", "True"))
    return f"<Job>{''.join(tags)}</Job>"


def render_table(state: State) -> str:
    """`qstat -t`: the tasks instead of their arrays."""
    shown = [job for job in state.jobs.values() if not job.array]
    if not shown:
        return ""
    head = "Job ID                    Name             User            Time Use S Queue\n"
    head += "------------------------- ---------------- --------------- -------- - -----\n"
    return head + "".join(f"{job.job_id:<25} {job.name:<16} {'tqa':<15} {'0':>8} {job.state} {job.queue:<15}\n" for job in shown)


def render_server(state: State) -> str:
    lines = [f"Server {SERVER}", "\tserver_state = Active", *(f"\t{name} = {value}" for name, value in state.server.items())]
    return "\n".join([*lines, f"\ttotal_jobs = {len(state.jobs)}", "\tpbs_version = 6.1.3.h5", "", ""])
