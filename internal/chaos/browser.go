//go:build unix

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

// requestTimeout bounds what a browser waits for. It is more than anything here may take.
const requestTimeout = 45 * time.Second

// proxy hands requests for the application to its processes in turn, as a load balancer does: to the next one if a process
// cannot be reached.
type proxy struct {
	addresses []string
	next      atomic.Uint64
	base      http.RoundTripper
}

func newProxy(addresses []string) *proxy {
	return &proxy{addresses: addresses, base: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}}
}

func (p *proxy) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	for range p.addresses {
		out := r.Clone(r.Context())
		out.Host = r.URL.Host
		out.URL.Scheme, out.URL.Host = "http", p.addresses[p.next.Add(1)%uint64(len(p.addresses))]
		resp, err = p.base.RoundTrip(out)
		if err == nil || r.Context().Err() != nil {
			break
		}
	}
	if resp != nil {
		resp.Request = r
	}
	return resp, err
}

// browser is one user's: it has nothing but cookies.
type browser struct {
	number  int
	subject string
	server  *authority
	http    *http.Client
	grant   string // that its session came of
}

func newBrowser(number int, subject string, server *authority, through http.RoundTripper) *browser {
	jar, _ := cookiejar.New(nil) // cannot fail without options
	return &browser{number: number, subject: subject, server: server, http: &http.Client{
		Transport: through, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (b *browser) get(ctx context.Context, target string) (*http.Response, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set(browserHeader, strconv.Itoa(b.number))
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	if target != origin+"/api" {
		r.Header.Set("Sec-Fetch-Site", "none")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
	}
	resp, err := b.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp, body, err
}

var errLogin = errors.New("chaos: a login has failed")

// logIn goes through a login at application and server, as a person would.
func (b *browser) logIn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, _, err := b.get(ctx, origin+"/auth/login?"+url.Values{"iss": {b.server.Issuer()}, "login_hint": {b.subject}}.Encode())
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSeeOther {
		return errLogin
	}
	back, err := b.server.NewBrowser().Open(ctx, resp.Header.Get("Location"))
	if err != nil || back == nil {
		return errLogin
	}
	if resp, _, err = b.get(ctx, back.URL); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSeeOther {
		return errLogin
	}
	g, _ := b.server.Grant(back.Params.Get("code"))
	b.grant = g.ID
	return nil
}

// verdict is what a request came to.
type verdict int

const (
	served verdict = iota
	later          // 503, to be tried again: nobody is logged out by it
	loggedOut
	broken    // no answer: the process was killed, or the browser went away
	foreign   // somebody else's session or token
	tasteless // anything else, such as 503 without Retry-After
)

// answer is what came back.
type answer struct {
	verdict verdict
	status  int
	code    string // of the problem document
	grant   string // of the token that was served
	dead    bool   // that token did not work any more when it came
	took    time.Duration
}

// ask makes one request and judges the answer: the session and the token have to be the browser's own.
func (b *browser) ask(ctx context.Context) (a answer) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	began := time.Now()
	resp, body, err := b.get(ctx, origin+"/api")
	a.took = time.Since(began)
	if err != nil {
		a.verdict = broken
		return a
	}
	a.status = resp.StatusCode
	var problem struct{ Code string }
	switch resp.StatusCode {
	case http.StatusOK:
		return b.judge(body, a)
	case http.StatusServiceUnavailable:
		wait, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if a.verdict = later; err != nil || wait < 1 || wait > 60 {
			a.verdict = tasteless
		}
	case http.StatusUnauthorized, http.StatusSeeOther:
		a.verdict = loggedOut
	default:
		a.verdict = tasteless
	}
	if json.Unmarshal(body, &problem) == nil {
		a.code = problem.Code
	}
	return a
}

func (b *browser) judge(body []byte, a answer) answer {
	var p page
	if json.Unmarshal(body, &p) != nil {
		a.verdict = tasteless
		return a
	}
	g, ok := b.server.Grant(p.Token)
	if a.verdict = served; !ok || p.Subject != b.subject || g.Subject != b.subject {
		a.verdict = foreign
	}
	a.grant = g.ID
	a.dead = g.Revoked.IsZero() && !b.server.Active(p.Token)
	return a
}
