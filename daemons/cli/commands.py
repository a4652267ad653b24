"""Every command of `headnode`, by what it is for. A command's summary is the first sentence of its own help."""

from daemons.cli.lazy import Later

LOOK, CHANGE, SET_UP, TRY = "Look", "Change", "Set up", "Run and try"

COMMANDS = (
    Later(
        "status",
        "Show services, fleets, waiting work and the last decisions on one screen, problems first.",
        "daemons.cli.status:status",
        LOOK,
    ),
    Later("jobs", "List the waiting work: what each shape of job needs, and what it waits for.", "daemons.cli.jobs:jobs", LOOK),
    Later(
        "top",
        "Watch fleets, waiting jobs, nodes and decisions, full screen: q quits, n, j, d and a choose a list or all of them.",
        "daemons.cli.top:top",
        LOOK,
    ),
    Later(
        "nodes",
        "List the nodes as nodewatcher last saw them, each with the sentence that says why it stays or goes.",
        "daemons.cli.nodes:nodes",
        LOOK,
    ),
    Later(
        "doctor",
        "Check credentials and permissions, queue, topics, groups, hooks, table, zone, scheduler, broker and this machine.",
        "daemons.cli.doctor:doctor",
        LOOK,
    ),
    Later("explain", "Say why the cluster grew or did not.", "daemons.cli.explain:app", LOOK),
    Later("queue", "Look into the cluster's queue.", "daemons.cli.queue:app", LOOK),
    Later("ha", "Show who holds the lease of each service, since when, and its fence.", "daemons.cli.ha:ha", LOOK),
    Later(
        "replay",
        "Make recorded decisions again with this version, and show what is different.",
        "daemons.cli.replay:replay_command",
        LOOK,
    ),
    Later(
        "logs",
        "Show the services' log lines: from the journal, from their files where those are configured, or from CloudWatch.",
        "daemons.cli.logs:logs",
        LOOK,
    ),
    Later(
        "events",
        "Say what a log line means and what to do about it; without a name list them all.",
        "daemons.cli.events:events",
        LOOK,
    ),
    Later(
        "drain",
        "Let no new job start on these nodes, as an administrator: running jobs go on, and headnode leaves the nodes alone.",
        "daemons.cli.drain:drain",
        CHANGE,
    ),
    Later(
        "resume",
        "Let jobs start on these nodes again, whoever has drained them, headnode itself excepted.",
        "daemons.cli.drain:resume",
        CHANGE,
    ),
    Later(
        "hold",
        "Have nodewatcher leave a node alone: it neither drains nor ends nor replaces it.",
        "daemons.cli.hold:hold",
        CHANGE,
    ),
    Later("release", "Take a hold back.", "daemons.cli.hold:release", CHANGE),
    Later(
        "resync",
        "Compare the groups, the table, the scheduler and the zone, twice; with --apply mend what differs.",
        "daemons.cli.resync:resync",
        CHANGE,
    ),
    Later("poke", "Have jobwatcher look now.", "daemons.cli.poke:poke_command", CHANGE),
    Later(
        "log-level",
        "Print the configured log level, or change it: in the configuration file, and in the services that run.",
        "daemons.cli.loglevel:log_level",
        CHANGE,
    ),
    Later(
        "install",
        "Lay down units, the services' user, directories and an example configuration, for this installation's programs.",
        "daemons.cli.install:install",
        SET_UP,
    ),
    Later(
        "uninstall",
        "Stop the services and take away what `headnode install` has laid down, and nothing else.",
        "daemons.cli.install:uninstall",
        SET_UP,
    ),
    Later("config", "Check and show the configuration; import one of ParallelCluster's.", "daemons.cli.config:app", SET_UP),
    Later(
        "plugins", "Scheduler plugins: what is installed, and a check of the configured one.", "daemons.cli.plugins:app", SET_UP
    ),
    Later("mqtt", "Mosquitto's ACL, settings and users.", "daemons.cli.mqtt:app", SET_UP),
    Later(
        "cloudwatch",
        "A dashboard, alarms and queries for CloudWatch, made of the list of events and metrics.",
        "daemons.cli.cloudwatch:app",
        SET_UP,
    ),
    Later("iam", "Policies of least privilege, made of the calls that headnode really makes.", "daemons.cli.iam:app", SET_UP),
    Later("man", "Print the manual page, headnode(1), for man: `headnode man | man -l -`.", "daemons.cli.man:man", SET_UP),
    Later("jobwatcher", "Run jobwatcher in the foreground.", "daemons.cli.services:jobwatcher", TRY),
    Later(
        "demo",
        "Run jobs on a whole cluster in miniature, watch it grow and shrink, and judge what happened.",
        "daemons.cli.demo:demo",
        TRY,
    ),
    Later("local", "A small batch scheduler in one file.", "daemons.cli.local:app", TRY),
)
