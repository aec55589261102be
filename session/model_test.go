package session

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestModel runs the engine itself, two processes of it on one store and one server, through every order in which
// their calls of store and server can take effect, and asserts R1 to R8 after each.
//
// What is bounded: two processes; three requests at most; one crash or fault in a run, in some scenarios two; time passes only
// when nothing else can happen, and besides at most once while calls of the server are under way: up to the next moment
// when somebody does something, at most a second longer than a lease lasts. A process that polls and finds nothing new is no
// step. Records do not expire in this store.
//
// A failure prints its schedule, and what to set to see that one alone.
const modelReplay = "SALLYPORT_MODEL_REPLAY"

// The requests of the scenarios, and in which process they come.
var (
	modelA      = part{name: "A", replica: 0, does: refreshing}
	modelA2     = part{name: "A2", replica: 0, does: refreshing}
	modelB      = part{name: "B", replica: 1, does: refreshing}
	modelLoads  = part{name: "B", replica: 1, does: refreshing, loads: true}
	modelLate   = part{name: "late", replica: 1, does: refreshing, late: true}
	modelBob    = part{name: "bob", replica: 0, does: refreshing, subject: "bob"}
	modelSave   = part{name: "save", replica: 1, does: saving}
	modelPeer   = part{name: "peer", replica: 1, does: loggedOutByPeer}
	modelLogout = part{name: "logout", replica: 1, does: loggingOut}
	modelLeave  = part{name: "logout", replica: 0, does: loggingOut}
)

func scenarios() (all []scenario) {
	two := []part{modelA, modelB}
	for _, store := range []bool{false, true} {
		add := func(r rotation, s scenario) {
			s.store, s.server = store, r
			s.name += "/" + map[bool]string{false: "cookie", true: "store"}[store] + "/" + r.String()
			all = append(all, s)
		}
		for _, r := range []rotation{strict, lenient, grace, static} {
			add(r, scenario{name: "calm", actors: []part{modelA, modelA2, modelB}, slows: 1, long: true})
			add(r, scenario{name: "crash", actors: two, troubles: 1, crash: true, slows: 1})
			add(r, scenario{name: "store", actors: two, troubles: 1, storeErr: true, slows: 1})
			add(r, scenario{name: "fault", actors: two, troubles: 1, fault: true, slows: 1})
		}
		for _, r := range []rotation{strict, lenient, grace} {
			add(r, scenario{name: "apart", actors: two, troubles: 1, apart: true, slows: 1})
		}
		for _, r := range []rotation{strict, grace} {
			add(r, scenario{name: "alive", left: 50 * time.Second, actors: two, troubles: 1, crash: true, fault: true, storeErr: true, slows: 1})
			add(r, scenario{name: "older", older: true, actors: []part{modelA, modelLate}, troubles: 1, crash: true, apart: true, slows: 1})
			add(r, scenario{name: "gone", actors: two, cancel: true, slows: 1})
			add(r, scenario{name: "users", actors: []part{modelA, modelBob}, troubles: 1, fault: true, slows: 1})
			add(r, scenario{name: "logout", actors: []part{modelA, modelB, modelLogout}, troubles: 1, crash: true})
			add(r, scenario{name: "logout-fails", actors: []part{modelLoads, modelLeave}, troubles: 1, storeErr: true, fault: true, apart: true})
			add(r, scenario{name: "peer", actors: []part{modelA, modelB, modelPeer}, troubles: 1, fault: true})
			add(r, scenario{name: "peer-crash", actors: []part{modelA, modelPeer}, troubles: 1, crash: true})
		}
		add(strict, scenario{name: "twice", actors: two, troubles: 2, crash: true, fault: true, slows: 1})
		add(grace, scenario{name: "twice-apart", actors: two, troubles: 2, crash: true, apart: true})
		if store { // a cookie has no other writer
			add(strict, scenario{name: "save", actors: []part{modelA, modelSave}, troubles: 1, crash: true, storeErr: true, fault: true, apart: true, slows: 1})
		}
	}
	return all
}

func TestModel(t *testing.T) {
	before := debug.SetGCPercent(800) // each run leaves a small world behind
	t.Cleanup(func() { debug.SetGCPercent(before) })
	replayName, replayChoices, _ := strings.Cut(os.Getenv(modelReplay), " ")
	for _, s := range scenarios() {
		if replayName != "" && replayName != s.name {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			x := new(explorer)
			if replayName != "" {
				x.replay = []int{}
				for c := range strings.SplitSeq(replayChoices, ".") {
					n, err := strconv.Atoi(c)
					if err != nil {
						t.Fatal(err)
					}
					x.replay = append(x.replay, n)
				}
			}
			begun := time.Now()
			for again := true; again; again = x.replay == nil && x.next() && x.runs < modelRuns {
				var w *world
				synctest.Test(t, func(*testing.T) { w = s.run(x) })
				if len(w.wrong) > 0 {
					t.Fatalf("schedule %d breaks\n  %s\nafter%s\n%s='%s %s'", x.runs+1, strings.Join(w.wrong, "\n  "), numbered(x.log), modelReplay, s.name, x.choices())
				}
			}
			if x.replay != nil {
				t.Log(numbered(x.log))
			}
			t.Logf("%d schedules, %d cut short as others in another order, %d steps, the longest %d, %v",
				x.runs-x.redundant, x.redundant, x.moves, x.longest, time.Since(begun).Round(time.Millisecond))
		})
	}
}
