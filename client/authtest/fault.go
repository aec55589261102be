package authtest

import (
	"math/rand/v2"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Fault is one way to misbehave: first where, when and how often, then what.
// The parts of "what" can be combined, and several faults can be in force: they
// act in the order in which they were given, and of two answers or two
// disturbances on the wire the first counts.
//
// Functions may be called concurrently.
type Fault struct {
	// Endpoint restricts the fault to one endpoint. Empty: all.
	Endpoint Endpoint
	// Times is for how many requests; zero: until stopped.
	Times int
	// When restricts it further, for example to one grant type. It is called
	// when the request has arrived and before anything is done about it.
	When func(*Request) bool

	// Answer is sent at once; the request has no effect.
	Answer *Response
	// Lenient leaves out the checks that protect a client from injected codes:
	// the authorization endpoint takes requests without PKCE, the token
	// endpoint takes any verifier and redirect URI, and takes a code twice.
	Lenient bool
	// JSON edits the members of the object that is about to be sent: the
	// metadata, the key set, a token response, userinfo, an error.
	JSON func(members map[string]any)
	// JWT edits a token before it is signed: at the token endpoint the ID
	// token, at userinfo the signed answer, for BackchannelLogout the logout token.
	JWT func(*JWT)
	// RawJWT replaces a token after it is signed.
	RawJWT func(compact string) string
	// Params edits the authorization response, whatever its mode, and the form
	// of a back-channel logout.
	Params func(url.Values)
	// Response edits the answer last, after the request has had its effect.
	Response func(*Request, *Response)
	// Wire disturbs how the answer is delivered.
	Wire Wire
	// Gate holds back what Wire says until it is closed or something is
	// received from it. Nil: until the client goes away.
	Gate <-chan struct{}
	// Delay opens the Gate of a Wire that waits, if nobody has before. With
	// another Wire, or none, the request itself takes so much longer: it waits
	// before anything is done about it, and then has its effect whether or not
	// the client is still there. Such delays of several faults add up.
	Delay time.Duration
}

// Wire is a disturbance of the connection.
type Wire string

// The disturbances. "Before" and "after" mean: before or after the request has
// had its effect, such as spending a code or rotating a refresh token.
const (
	DropBefore  Wire = "drop_before"  // reads the request and hangs up
	DropAfter   Wire = "drop_after"   // acts on the request and hangs up without an answer
	StallBefore Wire = "stall_before" // waits for Gate before acting on the request
	StallAfter  Wire = "stall_after"  // acts, and waits for Gate before answering
	StallBody   Wire = "stall_body"   // waits for Gate between the header and the second half of the body
	Drip        Wire = "drip"         // waits for Gate before each byte of header and body (HTTP/2, Transport: body)
	Truncate    Wire = "truncate"     // hangs up after half of the body that Content-Length announced
	Endless     Wire = "endless"      // follows the body with white space until the client goes away
	GzipBomb    Wire = "gzip_bomb"    // sends 10 MB of gzip that inflate to 10 GB
)

// waits reports whether a disturbance has a gate.
func (w Wire) waits() bool {
	switch w {
	case StallBefore, StallAfter, StallBody, Drip:
		return true
	}
	return false
}

// Chance is for [Fault.When]: it is true with probability p, by a generator that
// starts from seed, until the fault is stopped. Faults that are to strike
// independently of each other take different seeds. It panics if p is not
// between 0 and 1.
func Chance(p float64, seed uint64) func(*Request) bool {
	if !(p >= 0 && p <= 1) {
		panic("authtest: a probability is between 0 and 1")
	}
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 0))
	return func(*Request) bool {
		mu.Lock()
		defer mu.Unlock()
		return random.Float64() < p
	}
}

// Deny makes an authorization response an error response, for [Fault.Params].
func Deny(code string) func(url.Values) {
	return func(v url.Values) {
		v.Del("code")
		v.Set("error", code)
	}
}

type activeFault struct {
	Fault
	left int
}

type faultList struct {
	mu     sync.Mutex
	active []*activeFault
}

// Misbehave puts faults in force, next to those that are, until stop or
// [Server.Behave] is called, or each has had its Times. It panics if a fault
// names an endpoint or a Wire that does not exist, or has a negative Delay.
func (s *Server) Misbehave(faults ...Fault) (stop func()) {
	for _, f := range faults {
		known(f.Endpoint)
		switch f.Wire {
		case "", DropBefore, DropAfter, StallBefore, StallAfter, StallBody, Drip, Truncate, Endless, GzipBomb:
		default:
			panic("authtest: there is no Wire " + strconv.Quote(string(f.Wire)))
		}
		if f.Delay < 0 {
			panic("authtest: a Delay is negative")
		}
	}
	l := &s.faults
	mine := make(map[*activeFault]bool, len(faults))
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range faults {
		a := &activeFault{Fault: f, left: f.Times}
		mine[a] = true
		l.active = append(l.active[:len(l.active):len(l.active)], a)
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.remove(func(a *activeFault) bool { return mine[a] })
	}
}

// Behave ends all faults. Answers that are being stalled stay so.
func (s *Server) Behave() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.active = nil
}

// remove makes a new slice: match iterates over the old one without the lock.
func (l *faultList) remove(gone func(*activeFault) bool) {
	var kept []*activeFault
	for _, a := range l.active {
		if !gone(a) {
			kept = append(kept, a)
		}
	}
	l.active = kept
}

// match returns the faults that concern a request and counts them as used.
func (l *faultList) match(r *Request) []Fault {
	l.mu.Lock()
	active := l.active
	l.mu.Unlock()
	var out []Fault
	for _, a := range active {
		if a.Endpoint != "" && a.Endpoint != r.Endpoint {
			continue
		}
		// When is a stranger's function: never under the lock.
		if a.When != nil && !a.When(r) {
			continue
		}
		if a.Times == 0 || l.take(a) {
			out = append(out, a.Fault)
		}
	}
	return out
}

func (l *faultList) take(a *activeFault) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.left <= 0 {
		return false
	}
	if a.left--; a.left == 0 {
		l.remove(func(o *activeFault) bool { return o == a })
	}
	return true
}

func (x *exchange) lenient() bool {
	for _, f := range x.faults {
		if f.Lenient {
			return true
		}
	}
	return false
}
