package interop

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// agent is a browser without a screen: it keeps cookies, follows redirects, and fills in and submits the forms that
// stand between a user and the application.
type agent struct {
	t              *testing.T
	http           *http.Client
	user, password string
	trail          []string // every URL asked for, without its query
	passwords      int      // how often the password was asked for
}

func newAgent(t *testing.T, user, password string) *agent {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &agent{t: t, user: user, password: password, http: &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// page is where a navigation ended.
type page struct {
	url    *url.URL
	status int
	header http.Header
	body   string
}

// navigate opens address the way a click or a typed address does and goes on until it is somewhere with nothing more
// to follow or to fill in. With stop it ends as soon as the next address starts with that prefix, unvisited.
func (a *agent) navigate(address, stop string) page {
	a.t.Helper()
	return a.run(http.MethodGet, address, nil, nil, stop)
}

// submit posts a form of a page of the target's own origin.
func (a *agent) submit(address string, form url.Values, stop string) page {
	a.t.Helper()
	from, err := url.Parse(address)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.run(http.MethodPost, address, form, []*url.URL{from}, stop)
}

// run follows a navigation. The chain is where it comes from: the page whose form was sent, and each redirect since.
func (a *agent) run(method, address string, form url.Values, chain []*url.URL, stop string) page {
	a.t.Helper()
	for range 20 {
		u, err := url.Parse(address)
		if err != nil {
			a.t.Fatal(err)
		}
		if stop != "" && strings.HasPrefix(address, stop) {
			return page{url: u}
		}
		p := a.fetch(method, u, form, chain)
		if location := p.header.Get("Location"); p.status >= 300 && p.status < 400 && location != "" {
			next, err := u.Parse(location)
			if err != nil {
				a.t.Fatalf("redirect to an address that does not parse: %v", err)
			}
			if p.status != http.StatusTemporaryRedirect && p.status != http.StatusPermanentRedirect {
				method, form = http.MethodGet, nil
			}
			address = next.String()
			if chain != nil {
				chain = append(chain, u)
			}
			continue
		}
		f, err := findForm(u, p.body)
		if errors.Is(err, errNoForm) || p.status != http.StatusOK || !strings.HasPrefix(p.header.Get("Content-Type"), "text/html") {
			return p
		}
		if err != nil {
			a.t.Fatal(err)
		}
		method, form = f.method, a.fill(f.fields)
		if method == http.MethodGet {
			f.action.RawQuery = form.Encode()
		}
		address, chain = f.action.String(), []*url.URL{u}
	}
	a.t.Fatalf("no end after 20 steps:\n%s", strings.Join(a.trail, "\n"))
	return page{}
}

func (a *agent) fetch(method string, u *url.URL, form url.Values, chain []*url.URL) page {
	a.t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequest(method, u.String(), body)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	req.Header.Set("Sec-Fetch-Site", fetchSite(chain, u))
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", chain[0].Scheme+"://"+chain[0].Host)
	}
	a.trail = append(a.trail, method+" "+u.Scheme+"://"+u.Host+u.Path)
	resp, err := a.http.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return page{url: u, status: resp.StatusCode, header: resp.Header, body: string(b)}
}

// fetchSite is the value of Sec-Fetch-Site (Fetch Metadata §2.3): the furthest that any step of the chain is from the
// target; nothing but an address that was typed in is "none".
func fetchSite(chain []*url.URL, target *url.URL) string {
	if chain == nil {
		return "none"
	}
	site := "same-origin"
	for _, from := range chain {
		switch {
		case from.Scheme != target.Scheme || from.Hostname() != target.Hostname():
			return "cross-site"
		case from.Host != target.Host:
			site = "same-site"
		}
	}
	return site
}

// get asks for a resource of the application the way a script on its page does: no navigation, no forms.
func (a *agent) get(address string) (status int, body string) {
	a.t.Helper()
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Sec-Fetch-Mode", "cors")
	req.Header.Set("Sec-Fetch-Dest", "empty")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	resp, err := a.http.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// fill answers a form as alice would: her name and password where they are asked for, everything else as it stands.
func (a *agent) fill(fields url.Values) url.Values {
	for name := range fields {
		switch name {
		case "username", "login":
			fields.Set(name, a.user)
		case "password":
			fields.Set(name, a.password)
			a.passwords++
		}
	}
	return fields
}

// form is what a browser sends when the first submit button of a page's first form is pressed.
type form struct {
	method string
	action *url.URL
	fields url.Values
}

var errNoForm = errors.New("no form on the page")

func findForm(base *url.URL, body string) (form, error) {
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		return form{}, err
	}
	var node *html.Node
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == "form" {
			node = n
			break
		}
	}
	if node == nil {
		return form{}, errNoForm
	}
	f := form{method: http.MethodGet, action: base, fields: url.Values{}}
	if strings.EqualFold(attribute(node, "method"), http.MethodPost) {
		f.method = http.MethodPost
	}
	if action := attribute(node, "action"); action != "" {
		if f.action, err = base.Parse(action); err != nil {
			return form{}, fmt.Errorf("action of the form: %w", err)
		}
	}
	pressed := false
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode || !belongs(n, node) {
			continue
		}
		name, value, kind := attribute(n, "name"), attribute(n, "value"), strings.ToLower(attribute(n, "type"))
		switch {
		case n.Data == "button" && (kind == "" || kind == "submit"), n.Data == "input" && kind == "submit":
			if pressed {
				continue
			}
			pressed = true
		case n.Data != "input":
			continue
		}
		if name != "" {
			f.fields.Add(name, value)
		}
	}
	return f, nil
}

// belongs tells whether a control is submitted with the form: it stands inside it, or names it.
func belongs(control, form *html.Node) bool {
	if id := attribute(control, "form"); id != "" {
		return id == attribute(form, "id")
	}
	for p := control.Parent; p != nil; p = p.Parent {
		if p == form {
			return true
		}
	}
	return false
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
