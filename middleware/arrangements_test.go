package middleware

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/storetest"
)

// arrangement is where sessions live and how many processes serve the application.
type arrangement string

const (
	ownMemory     arrangement = "cookies"            // sessions in cookies, one process
	inStore       arrangement = "store"              // sessions in a store that is one process's memory
	sharedStore   arrangement = "shared store"       // sessions in a store, two processes
	sharedCookies arrangement = "cookies, processes" // sessions in cookies, two processes that share a Coordination
)

// shared are the arrangements of two processes.
var shared = []arrangement{sharedStore, sharedCookies}

func (p arrangement) processes() int {
	if p == sharedStore || p == sharedCookies {
		return 2
	}
	return 1
}

func (p arrangement) stores() bool { return p == inStore || p == sharedStore }

func (p arrangement) config(cfg session.Config, s session.Store) session.Config {
	cfg.Replicas = p.processes() > 1
	switch {
	case p.stores():
		cfg.Store = s
	case p == sharedCookies:
		cfg.Coordination = s
	}
	return cfg
}

// arrangementOf is that of TestArrangements, by the name of the test.
func arrangementOf(t *testing.T) arrangement {
	parts := strings.Split(t.Name(), "/")
	if parts[0] == "TestArrangements" && len(parts) > 1 {
		return arrangement(strings.ReplaceAll(parts[1], "_", " "))
	}
	return ownMemory
}

// openStore makes the store of the arrangement.
func (b *bench) openStore() {
	if b.place == ownMemory {
		return
	}
	b.store = session.NewMemory(session.MemoryOptions{Now: b.now})
	if b.place.processes() > 1 {
		b.faulty = &storetest.Faulty{Store: b.store, AsShared: true}
		b.store = b.faulty
	}
}

// nodes are the processes of an application behind a load balancer that gives each the next request.
type nodes struct {
	auths    []*Auth
	handlers []http.Handler
	count    atomic.Int64
}

func (n *nodes) add(a *Auth, h http.Handler) {
	n.auths, n.handlers = append(n.auths, a), append(n.handlers, h)
}

func (n *nodes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i := n.count.Add(1) - 1
	n.handlers[i%int64(len(n.handlers))].ServeHTTP(w, r)
}

// next is which one gets the next request.
func (n *nodes) next() int { return int(n.count.Load() % int64(len(n.handlers))) }

// turn makes i the next.
func (n *nodes) turn(i int) {
	for n.next() != i%len(n.handlers) {
		n.count.Add(1)
	}
}

// everywhere are the tests that hold in every arrangement; by themselves they run with sessions in cookies and one process.
var everywhere = []func(*testing.T){
	TestFrontchannelLogout,
	TestFrontchannelLogoutWithoutSID,
	TestFrontchannelLogoutIsOff,
	TestClientSendsTheToken,
	TestClientBehindAHandler,
	TestClientRefuses,
	TestClientRedirects,
	TestClientRefreshesOnce,
	TestTokenSource,
	TestClientWithoutSession,
	TestClientSameTokenAgain,
	TestClientContext,
	TestRedirectOfTerseTransport,
	TestBackchannelLogoutShape,
	TestBackchannelLogoutUnavailable,
	TestBackchannelLogout,
	TestBackchannelLogoutAtEndSession,
	TestBackchannelLogoutRefused,
	TestBackchannelLogoutReplay,
	TestBackchannelLogoutBySubject,
	TestBackchannelLogoutDuringLogin,
	TestBackchannelLogoutRevokes,
	TestCallbackFormPost,
	TestCallbackServerErrors,
	TestCallbackCodeInjection,
	TestCallbackServerFails,
	TestCallbackSurvivesTheBrowser,
	TestCallbackNewSessionAtLogin,
	TestNoOracle,
	TestCallbackPanickingSecret,
	TestPanickingHook,
	TestLogin,
	TestCallbackOfSomebodyElse,
	TestCallbackState,
	TestCallbackOnce,
	TestCallbackShape,
	TestCallbackMethod,
	TestCallbackAtAnotherHost,
	TestCallbackAtAnotherPath,
	TestCallbackIssNotAnnounced,
	TestCallbackCodeUnchanged,
	TestCallbackQueryOfRedirectURI,
	TestCallbackOfAnotherProvider,
	TestLoginOutsideInputs,
	TestLoginStart,
	TestLoginManyPending,
	TestLoginProviderDown,
	TestReturnTo,
	TestChooser,
	TestReturnToSealedBefore,
	TestAuthorizationOptions,
	TestLogout,
	TestLogoutCSRF,
	TestLogoutTakesNoAddress,
	TestLoggedOutForged,
	TestLogoutWithoutProvider,
	TestLogoutWithoutSession,
	TestLogoutHint,
	TestLatePollLeavesTheNewLogin,
	TestRefresh,
	TestRefreshRefused,
	TestRefreshWithoutSession,
	TestKeepAfterLogout,
	TestRequireLoginWithoutSession,
	TestRequireLoginComesBack,
	TestRequireLoginHead,
	TestRequireRefusesOtherOrigins,
	TestRequireTokenServerDown,
	TestRequireTokenGrantOver,
	TestOutageForAPerson,
	TestRequireNested,
	TestResponseWriterIsNotWrapped,
	TestForeignReadSendsNothing,
	TestRequireTokenPanickingSecret,
	TestRequireTouches,
	TestRequireNestedRefresh,
	TestRequireTokenServerDown,
	TestMethodIsReported,
	TestRequireBadCookies,
	TestSessionEndpoint,
	TestSessionOfOpenPages,
	TestCookieEvents,
	TestCookieTwice,
}

// withCookies are those that are about sessions in cookies.
var withCookies = []func(*testing.T){
	TestSessionTooLarge,
	TestLogoutOfManyChunks,
	TestParallelRequestsWithASplitSession,
	TestRequireTokenRefreshes,
}

// notEverywhere are the others with a bench, and why.
var notEverywhere = map[string]string{
	"TestAllocations":                 "it is not built with the race detector",
	"TestBackchannelLogoutFlood":      "it counts what one process asks of a server",
	"TestFailedLoginsTakeNoRoom":      "it watches a store",
	"TestFrontchannelLogoutStoreAway": "it chooses its arrangements",
	"TestReturnToCorpus":              "it is about paths, and long",
}

func nameOf(test func(*testing.T)) string {
	name := runtime.FuncForPC(reflect.ValueOf(test).Pointer()).Name()
	return name[strings.LastIndexByte(name, '.')+1:]
}

func TestArrangements(t *testing.T) {
	for _, p := range []arrangement{inStore, sharedStore, sharedCookies} {
		t.Run(string(p), func(t *testing.T) {
			for _, test := range everywhere {
				t.Run(nameOf(test), test)
			}
			for _, test := range withCookies {
				if !p.stores() {
					t.Run(nameOf(test), test)
				}
			}
		})
	}
}

// A test with a bench is in one of the two lists.
func TestArrangementsAreComplete(t *testing.T) {
	listed := map[string]bool{}
	for _, test := range slices.Concat(everywhere, withCookies) {
		listed[nameOf(test)] = true
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if file == "outage_test.go" || file == "replicas_test.go" { // they choose their arrangements
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			test, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(test.Name.Name, "Test") {
				continue
			}
			ast.Inspect(test, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok && id.Name == "newBench" {
					if name := test.Name.Name; listed[name] == (notEverywhere[name] != "") {
						t.Errorf("%s: %s is in neither list, or in both", file, name)
					}
					return false
				}
				return true
			})
		}
	}
}
