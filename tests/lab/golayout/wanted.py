"""What the tables hold: structs, variables, constants."""

from __future__ import annotations

import re

_RUNTIME = """
g m p schedt gobuf stack sudog hchan waitq semaRoot mutex note notifyList gQueue gList ancestorInfo coro timer
timers timeTimer timerWhen pollDesc pollCache synctestBubble synctestGroup gcControllerState workType mstats
consistentHeapStats heapStatsDelta cpuStats timeHistogram gcCPULimiterState mheap mspan mcentral mcache
heapArena pageAlloc scavengeIndex spanSet special specialprofile bucket memRecord memRecordCycle blockRecord
moduledata pcHeader functab findfuncbucket textsect modulehash ptabEntry itab _func funcInl funcinl inlinedCall
inlineTree _defer _panic forcegcstate sweepdata scavengerState dbgVar funcval limiterEvent mProfCycleHolder
finblock lfnode hmap bmap mapextra eface iface _type stackpoolItem heapStatsAggregate traceMap
"""
_OTHERS = """
internal/abi.Type internal/abi.UncommonType sync.Mutex sync.RWMutex sync.WaitGroup sync.Cond sync.Once sync.Pool
sync.notifyList internal/sync.Mutex internal/poll.FD internal/poll.fdMutex internal/poll.pollDesc
internal/poll.SysFile net.netFD net.conn net.TCPConn net.TCPListener net.UDPConn net.UnixConn net.TCPAddr
net.UDPAddr net.UnixAddr os.file os.File os.Process time.Timer time.Ticker time.runtimeTimer time.Time
runtime/pprof.labelMap runtime/pprof.LabelSet runtime/pprof.label internal/godebug.Setting
internal/godebug.setting internal/godebug.value internal/runtime/pprof/label.Label
internal/runtime/pprof/label.Set internal/runtime/pprof/label.List context.cancelCtx context.timerCtx
"""
STRUCTS = (*(f"runtime.{name}" for name in _RUNTIME.split()), *_OTHERS.split())

_SIGNED = """
allgs allglen allgptr allp allm sched gcController memstats work mheap_ semtable gomaxprocs ncpu numCPUStartup
debug forcegc gcBlackenEnabled writeBarrier pollcache runtimeInitTime faketime modinfo godebugDefault godebugEnv
gcphase gcCPULimiter scavenge sweep panicking mbuckets bbuckets xbuckets MemProfileRate blockprofilerate
mutexprofilerate physPageSize netpollInited netpollWaiters iscgo extraMLength extraMInUse extraM fing finq
fingStatus gcCleanups firstmoduledata lastmoduledatap modulesSlice buildVersion argslice envs worldsema cpuprof
inForkedChild startupRand allfin trace maxstacksize profInsertLock ncgocall isarchive islibrary
freezing runningPanicDefers deadlock procAuxv startingStackSize
"""
SIGNED = (
    *(f"runtime.{name}" for name in _SIGNED.split()),
    "crypto/internal/fips140.Enabled",
    "crypto/internal/fips140only.Enforced",
    "crypto/internal/boring.Enabled",
    "internal/godebug.empty",
)
"""Variables that can be found in a program without symbols."""
GLOBALS = (*SIGNED, "runtime.m0", "runtime.g0", "runtime.dbgvars", "runtime.sizeClassBuckets", "runtime.stackpool")

CONSTANTS = re.compile(
    r"runtime\.(timeHist\w+|(mutex|heapArena|logHeapArena|arena|stack|fixedStack|addr|tag|timer|poll|pd|mSpan|minLegal"
    r"|numSpan|semTab|_GC|physPage|maxStack|gcMarkWorker\w*Mode|spanAlloc|mem|pageShift|_?[Pp]ageSize|_PageShift|_NumSizeClasses"
    r"|_PageSize|wbBuf|capture|maxPhysPage|numStatsDeps|_TinySizeClass|tinySizeClass|_MaxSmallSize|bucketSize|buckHash"
    r"|sudogSize|pallocChunkPages|logPallocChunkPages|pallocSumBytes)\w*)"
    r"|internal/runtime/(gc|sys)\.(NumSizeClasses|PageShift|PageSize|MaxSmallSize|StackGuardMultiplier|TinyBlockSize|\w*HeaderSize)"
    r"|(internal/)?sync\.(mutex\w+|rwmutexMaxReaders|waitGroup\w+)|internal/poll\.(mutex\w+)"
)
