package session

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// modelEnd is longer than anything in the engine goes on.
const modelEnd = time.Hour

// world is one run: two processes with the real engine in them, one store, one server, and a scheduler. Whatever
// leaves a process (a call of the store or the server, the coming of a request) parks at the gate until it is chosen.
type world struct {
	s        *scenario
	x        *explorer
	store    modelStore
	server   *modelServer
	replicas []*replica
	actors   []*actor
	sessions map[string]*modelSession // by the key of the entry
	probe    *vault

	begins atomic.Bool // nobody asks who calls
	mu     sync.Mutex
	free   bool // nothing parks: before and after the part that is explored
	over   bool // all that is left goes home
	renews bool // renewals do not park
	parked []*op
	buried []*op // of processes that have crashed
	news   chan struct{}

	troubles, slows int    // so far
	last            *actor // who moved
	told            bool   // an event says that a session may be lost
	doubted         bool   // or a refresh token

	wrongMu sync.Mutex
	wrong   []string
}

// replica is a process.
type replica struct {
	n     int
	m     *Manager
	dead  bool
	apart bool // from the store
}

// actor is a request, with all that goes on because of it.
type actor struct {
	n      int
	name   string
	group  int
	at     *replica
	sess   *Session // that it has already, nil: it loads it
	ctx    context.Context
	cancel context.CancelFunc

	begun, done, canceled bool
	logsOut, saves        bool
	err                   error
	got                   *Session
	late                  bool   // the session had ended when it looked at it first
	looked                bool   // at it at all
	seen                  int    // how much had happened when its refresh looked at the entry
	leased                uint64 // the token generation of its lease
	holder                [16]byte
}

type actorKey struct{}

func actorOf(ctx context.Context) *actor {
	a, _ := ctx.Value(actorKey{}).(*actor)
	return a
}

type opKind int

const (
	opStart opKind = iota
	opGet
	opSwap
	opArrive
	opAnswer
)

// op is what an actor is about to do to the world.
type op struct {
	who  *actor
	role string // which part of the engine does it
	kind opKind
	key  string
	call *call
	turn chan granted
}

func (o *op) String() string {
	switch o.kind {
	case opStart:
		return o.who.name + " begins"
	case opArrive:
		return o.who.name + "'s call arrives"
	case opAnswer:
		return o.who.name + " is answered"
	}
	verb := "read"
	if o.kind == opSwap {
		verb = "swap"
	}
	where := ""
	if o.key[0] != keySession {
		where = " of " + o.key[:1]
	}
	return fmt.Sprintf("%s %s: %s%s", o.who.name, o.role, verb, where)
}

func (o *op) store() bool { return o.kind == opGet || o.kind == opSwap }

// granted is how an op goes on.
type granted int

const (
	grantDo        granted = iota
	grantFail              // the store: without effect
	grantFailAfter         // the store: with effect
	grantBusy              // the server: 503
	grantLost              // the server: no answer, but the effect
	grantKill              // the process is no more
)

// gate waits for the scheduler.
func (w *world) gate(o *op) granted {
	w.mu.Lock()
	switch r := o.who.at; {
	case w.over:
		w.mu.Unlock()
		runtime.Goexit()
	case r.dead:
		w.buried = append(w.buried, o)
	case r.apart && o.store():
		w.mu.Unlock()
		return grantFail
	case w.free || w.idle(o):
		w.mu.Unlock()
		return grantDo
	default:
		w.parked = append(w.parked, o)
		select {
		case w.news <- struct{}{}:
		default:
		}
	}
	o.turn = make(chan granted)
	w.mu.Unlock()
	g := <-o.turn
	if g == grantKill {
		runtime.Goexit()
	}
	return g
}

// idle reports whether o changes and tells nothing, so that its turn does not matter: a look at an entry in which nothing but
// the beat of the lease has changed since the last, and what nobody else ever touches. Call with w.mu.
func (w *world) idle(o *op) bool {
	if !o.store() {
		return false
	}
	ms := w.sessions[o.key]
	if ms == nil {
		return !w.s.crash || !o.who.logsOut || o.role == "epoch"
	}
	if w.renews && o.role == "renew" {
		return true
	}
	return o.kind == opGet && o.role == "refresh" && o.who.seen == ms.happened
}

// roles are the parts of the engine that use the store, innermost first on the stack.
var roles = map[string]string{
	"(*transaction).beat":         "renew",
	"(*transaction).write":        "settle",
	"(*transaction).win":          "lease",
	"(*transaction).run":          "refresh",
	"(*Manager).consult":          "load",
	"(*Manager).remember":         "end",
	"(*Manager).endMember":        "end",
	"(*Manager).save":             "save",
	"(*Manager).handIn":           "hand in",
	"(*Manager).lookForEpoch":     "epoch",
	"(*Manager).logOut":           "roster",
	"(*Manager).enrol":            "enrol",
	"(*Manager).begin":            "create",
	"(*vault).useOnce":            "once",
	"(*Manager).endByLogoutToken": "token",
}

var modelPackage = func() string {
	pc, _, _, _ := runtime.Caller(0)
	name := runtime.FuncForPC(pc).Name()
	return name[:strings.LastIndexByte(name, '/')] + "/session."
}()

// role is the part of the engine that calls, as far as somebody wants to know.
func (w *world) role() string {
	if w.begins.Load() {
		return "begin"
	}
	var pcs [24]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		if name, ok := strings.CutPrefix(f.Function, modelPackage); ok {
			if i := strings.IndexByte(name, ')'); i > 0 {
				if j := strings.IndexByte(name[i+2:], '.'); j >= 0 {
					name = name[:i+2+j]
				}
			}
			if r, ok := roles[name]; ok {
				return r
			}
		}
		if !more {
			return "other"
		}
	}
}

// modelStore is a store without expiry.
type modelStore struct {
	mu      sync.Mutex
	records map[string]modelRecord
	version int64
}

type modelRecord struct {
	value   []byte
	version int64
}

func (s *modelStore) get(key string) ([]byte, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[key]
	if !ok {
		return nil, 0, ErrNotFound
	}
	return slices.Clone(r.value), r.version, nil
}

func (s *modelStore) swap(key string, old int64, value []byte) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records[key].version != old {
		return 0, ErrConflict
	}
	s.version++
	s.records[key] = modelRecord{slices.Clone(value), s.version}
	return s.version, nil
}

var errModelStore = fmt.Errorf("model: the store is away")

// view is the store as a process has it.
type view struct {
	w *world
	r *replica
}

func (v view) Shared() bool { return true }

func (v view) Get(ctx context.Context, key string) ([]byte, int64, error) {
	o := &op{who: actorOf(ctx), role: v.w.role(), kind: opGet, key: key}
	if v.w.gate(o) != grantDo {
		return nil, 0, errModelStore
	}
	v.w.look(o)
	return v.w.store.get(key)
}

func (v view) Swap(ctx context.Context, key string, old int64, value []byte, _ time.Duration) (int64, error) {
	o := &op{who: actorOf(ctx), role: v.w.role(), kind: opSwap, key: key}
	g := v.w.gate(o)
	if g == grantFail {
		return 0, errModelStore
	}
	version, err := v.w.store.swap(key, old, value)
	if err == nil {
		v.w.observe(o)
	}
	if g == grantFailAfter {
		return 0, errModelStore
	}
	return version, err
}

// direct is the store as the checks have it.
type direct struct{ s *modelStore }

func (d direct) Shared() bool { return true }

func (d direct) Get(_ context.Context, key string) ([]byte, int64, error) { return d.s.get(key) }

func (d direct) Swap(context.Context, string, int64, []byte, time.Duration) (int64, error) {
	return 0, errModelStore
}
