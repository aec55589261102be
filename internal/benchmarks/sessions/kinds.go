package sessions

import (
	"fmt"
	"net/http"
	"strings"
)

// Kind is one way of keeping a session.
type Kind struct {
	Name string
	New  func() (*Setup, error)
}

// Setup is a Kind that is ready to be measured.
type Setup struct {
	Handler http.Handler // reads the session and answers; 401 without one
	Cookie  string       // the Cookie header of a request that is logged in
	// Write stores the session anew. nil: not measured.
	Write func(http.ResponseWriter, *http.Request) error
	// Forgeries are cookies that a stranger could make of Cookie.
	Forgeries []Forgery
}

// Forgery is one way to forge, done to several cookies so that nothing can remember the answer.
type Forgery struct {
	Name    string
	Cookies []string
}

// Names that others refer to.
const (
	Bare             = "bare handler"
	Floor            = "floor: AES-GCM + base64url"
	GorillaSessions  = "gorilla/sessions CookieStore"
	SecureCookiePlus = "securecookie + binary Serializer"
	SCS              = "scs, in memory"
)

const cookieName = "session"

var (
	hashKey  = []byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	blockKey = []byte("abcdef0123456789abcdef0123456789")
)

// Peers are the floor and what others use.
func Peers() []Kind {
	return []Kind{bareKind(), bareCookieKind(), floorKind(), secureCookieBinaryKind(), secureCookieJSONKind(), gorillaKind(), scsKind()}
}

// All are the peers and ours.
func All() []Kind { return append(Peers(), Ours()...) }

// Named returns the kind of that name; redis is the address of a server for those that need one, or empty.
func Named(name, redis string) (Kind, error) {
	kinds := All()
	if redis != "" {
		kinds = InRedis(redis)
	}
	for _, k := range kinds {
		if k.Name == name {
			return k, nil
		}
	}
	return Kind{}, fmt.Errorf("no kind of session is called %q", name)
}

// Try sends one request with these cookies and reports whether it was let in.
func (s *Setup) Try(cookie string) bool {
	w := NewSink()
	s.Handler.ServeHTTP(w, NewRequest(cookie))
	return w.LetIn()
}

// CookieSize is the length of the value of the cookie that s sends, all chunks together.
func (s *Setup) CookieSize() (n int) {
	for pair := range strings.SplitSeq(s.Cookie, "; ") {
		_, value, _ := strings.Cut(pair, "=")
		n += len(value)
	}
	return n
}

// Read sends n requests that are logged in.
func (s *Setup) Read(n int) error { return s.send(n, []string{s.Cookie}, true) }

// Refused sends n requests with cookies in turn that must not be let in.
func (s *Setup) Refused(n int, cookies []string) error { return s.send(n, cookies, false) }

func (s *Setup) send(n int, cookies []string, letIn bool) error {
	requests := make([]*http.Request, len(cookies))
	for i, c := range cookies {
		requests[i] = NewRequest(c)
	}
	w, r := NewSink(), new(http.Request)
	for i := range n {
		*r = *requests[i%len(requests)]
		w.Reset()
		s.Handler.ServeHTTP(w, r)
		if w.LetIn() != letIn {
			return fmt.Errorf("let in: %v, want %v (status %d)", w.LetIn(), letIn, w.Status)
		}
	}
	return nil
}

// Store writes the session n times.
func (s *Setup) Store(n int) error {
	w, r := NewSink(), NewRequest("")
	for range n {
		w.Reset()
		if err := s.Write(w, r); err != nil {
			return err
		}
	}
	return nil
}

// bareKind reads no session: what is left is the harness.
func bareKind() Kind {
	return Kind{Name: Bare, New: func() (*Setup, error) {
		s := NewRecord()
		return &Setup{Cookie: cookieName + "=x", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { s.answer(w) })}, nil
	}}
}

// bareCookieKind reads the cookie with net/http and does not look at it.
func bareCookieKind() Kind {
	return Kind{Name: Bare + " + r.Cookie", New: func() (*Setup, error) {
		f, err := newFloor(blockKey)
		if err != nil {
			return nil, err
		}
		s := NewRecord()
		return &Setup{Cookie: cookieName + "=" + f.encode(cookieName, s), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := r.Cookie(cookieName); err != nil {
				refuse(w)
				return
			}
			s.answer(w)
		})}, nil
	}}
}
