import time,sys
from tests.simulation.house import *
from tests.simulation.trips import *
from pipeline.store import orders
import structlog, logging
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
async def s(h):
    t=time.time()
    n=await h.buy(SAMPLE, sys.argv[1])
    await h.rest(float(sys.argv[2]))
    p=h.read(lambda tx: orders.load_purchases(tx,[SAMPLE+":1"]))
    for x in p.values(): print(x.state,x.reason,x.paid_fen,x.unfrozen_fen,x.partial_refund_fen)
    for l in h.world.journal(): print(l)
    for r in h.results: print(r.type, r.data.seq)
    print(h.letters, time.time()-t)
simulate(s)
