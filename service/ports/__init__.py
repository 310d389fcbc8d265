"""What the outside fulfils. Everything inside knows these Protocols and no adapter.

Offsets, once and for all: `first` is the first offset held, `next` the offset that the next record will
have; a range `[start, stop)` is half open; a *position*, `after`, and `served` name the last offset seen,
so what is wanted next lies above them.
"""

from service.domain.ranges import Bounds as Bounds
from service.domain.ranges import Coverage as Coverage
from service.ports.access import Access as Access
from service.ports.access import Authenticator as Authenticator
from service.ports.access import IdentifiesAtOnce as IdentifiesAtOnce
from service.ports.access import JudgesAtOnce as JudgesAtOnce
from service.ports.access import TokenIssuer as TokenIssuer
from service.ports.access import Verdict as Verdict
from service.ports.clock import Clock as Clock
from service.ports.commands import CommandBatch as CommandBatch
from service.ports.commands import Commands as Commands
from service.ports.commands import CommandSource as CommandSource
from service.ports.commands import CommandTaker as CommandTaker
from service.ports.commands import PlacedCommand as PlacedCommand
from service.ports.cursors import Cursor as Cursor
from service.ports.cursors import CursorKey as CursorKey
from service.ports.cursors import Cursors as Cursors
from service.ports.epoch import Epoch as Epoch
from service.ports.history import History as History
from service.ports.history import HistoryPage as HistoryPage
from service.ports.leases import Claim as Claim
from service.ports.leases import Leases as Leases
from service.ports.log import EventLog as EventLog
from service.ports.log import Place as Place
from service.ports.log import TailBatch as TailBatch
from service.ports.log import TailReader as TailReader
from service.ports.oversight import LivingRunner as LivingRunner
from service.ports.oversight import Oversight as Oversight
from service.ports.oversight import Progress as Progress
from service.ports.oversight import QuarantinedRecord as QuarantinedRecord
from service.ports.oversight import QuarantinePlace as QuarantinePlace
from service.ports.presence import PresenceBatch as PresenceBatch
from service.ports.presence import PresenceLog as PresenceLog
from service.ports.presence import PresenceReader as PresenceReader
from service.ports.presence import PresenceRecord as PresenceRecord
from service.ports.rights import HeldRights as HeldRights
from service.ports.rights import HeldTask as HeldTask
from service.ports.rights import RightsLoader as RightsLoader
from service.ports.screens import Screens as Screens
from service.ports.sends import SendAll as SendAll
from service.ports.tickets import Ticket as Ticket
from service.ports.tickets import Tickets as Tickets
