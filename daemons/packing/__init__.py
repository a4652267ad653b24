"""Which waiting jobs go where. Shared: jobwatcher asks for capacity by it, nodewatcher keeps what it is about to use."""

from daemons.packing.answers import Placement
from daemons.packing.expander import Expander, PackOptions
from daemons.packing.limits import Cap, Limit
from daemons.packing.pack import Packing, pack
from daemons.packing.rooms import Kind
from daemons.packing.stops import Use
from daemons.packing.why import Why

__all__ = ["Cap", "Expander", "Kind", "Limit", "PackOptions", "Packing", "Placement", "Use", "Why", "pack"]
