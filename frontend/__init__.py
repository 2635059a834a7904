"""Python and JAX to programs, and the user's transformations."""

# These enter rules that the importer and the exporter look up.
from . import annotation_rules as annotation_rules
from . import batching_rules as batching_rules
from . import callbacks as callbacks
from . import collective_rules as collective_rules
from . import custom_equations as custom_equations
from . import custom_lin_rules as custom_lin_rules
from . import export_regions as export_regions
from . import exported_rules as exported_rules
from . import foreign as foreign
from . import forward_call_rules as forward_call_rules
from . import hidden_records as hidden_records
from . import import_rules as import_rules
from . import jax_ode as jax_ode
from . import linear_rules as linear_rules
from . import numeric_rules as numeric_rules
from . import placement_rules as placement_rules
from . import ragged_rules as ragged_rules
from . import raising as raising
from . import ref_regions as ref_regions
from . import refs as refs
from . import scatter_rules as scatter_rules
from . import shard_map_rules as shard_map_rules
from . import window_rules as window_rules
