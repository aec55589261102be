package interop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
)

// browser is a Chromium with a profile of its own: one cookie jar and any number of tabs.
type browser struct {
	t   *testing.T
	ctx context.Context
}

// newBrowser starts Chromium; it ends with the test.
func newBrowser(t *testing.T, flags ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		missing(t, "there is no chromium on the PATH")
	}
	scratch, err := os.MkdirTemp("", "chromium") // t.TempDir is too long a path for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(scratch) })
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // as root there is no other way
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Env("TMPDIR="+scratch),
		chromedp.UserDataDir(filepath.Join(scratch, "profile")),
		chromedp.WindowSize(1200, 900),
	)
	ctx, cancelTimeout := context.WithTimeout(t.Context(), 3*time.Minute)
	ctx, cancelAllocator := chromedp.NewExecAllocator(ctx, append(options, flags...)...)
	ctx, cancelBrowser := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		cancelBrowser()
		cancelAllocator()
		cancelTimeout()
	})
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("starting chromium: %v", err)
	}
	return &browser{t: t, ctx: ctx}
}

// cookies are those that the browser keeps for host.
func (b *browser) cookies(host string) []*network.Cookie {
	b.t.Helper()
	all, err := chromedp.CallBrowser(b.ctx, storage.GetCookies, storage.GetCookiesParams{})
	if err != nil {
		b.t.Fatal(err)
	}
	return slices.DeleteFunc(all.Cookies, func(c *network.Cookie) bool { return c.Domain != host })
}

// cookie is the one cookie of host with that name, or nil.
func (b *browser) cookie(host, name string) *network.Cookie {
	b.t.Helper()
	for _, c := range b.cookies(host) {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// tab is one tab, with what it was shown.
type tab struct {
	t   *testing.T
	ctx context.Context

	loaded chan struct{} // one for each page that finished loading

	mu         sync.Mutex
	documents  []document
	complaints []string // of the browser: content security policy, mixed content, refused cookies
}

// document is an answer to a navigation.
type document struct {
	url    string // without its query
	full   string
	status int64
	header map[string]string
}

func (d document) String() string { return fmt.Sprintf("%d %s", d.status, d.url) }

func (b *browser) tab() *tab {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	b.t.Cleanup(cancel)
	tb := &tab{t: b.t, ctx: ctx, loaded: make(chan struct{}, 100)}
	if err := chromedp.Listen(ctx, tb.record); err != nil {
		b.t.Fatal(err)
	}
	return tb
}

func (tb *tab) record(event any) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	switch e := event.(type) {
	case *cdppage.EventLoadEventFired:
		tb.loaded <- struct{}{}
	case *cdppage.EventFrameNavigated:
		if e.Type == cdppage.NavigationTypeBackForwardCacheRestore { // which has no load event
			tb.loaded <- struct{}{}
		}
	case *network.EventRequestWillBeSent:
		if e.Type == network.ResourceTypeDocument && e.RedirectResponse != nil {
			tb.documents = append(tb.documents, newDocument(e.RedirectResponse))
		}
	case *network.EventResponseReceived:
		if e.Type == network.ResourceTypeDocument {
			tb.documents = append(tb.documents, newDocument(e.Response))
		}
	case *log.EventEntryAdded:
		if e.Entry.Source == log.EntrySourceSecurity || e.Entry.Source == log.EntrySourceViolation {
			tb.complaints = append(tb.complaints, e.Entry.Text)
		}
	}
}

func newDocument(r *network.Response) document {
	d := document{full: r.URL, status: r.Status, header: map[string]string{}}
	d.url, _, _ = strings.Cut(r.URL, "?")
	for name, value := range r.Headers {
		d.header[strings.ToLower(name)] = fmt.Sprint(value)
	}
	return d
}

// shown are the answers to this tab's navigations so far, redirects included.
func (tb *tab) shown() []document {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	return slices.Clone(tb.documents)
}

// last is the newest answer to a navigation.
func (tb *tab) last() document {
	tb.t.Helper()
	d := tb.shown()
	if len(d) == 0 {
		tb.t.Fatal("the tab was shown nothing yet")
	}
	return d[len(d)-1]
}

// do runs steps that end in a new page, and waits until one has loaded whose address starts with prefix.
func (tb *tab) do(prefix string, steps ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	for len(tb.loaded) > 0 {
		<-tb.loaded
	}
	if err := chromedp.Do(tb.ctx, steps...); err != nil {
		tb.t.Fatalf("%v; the tab was shown %v", err, tb.shown())
	}
	for {
		select {
		case <-tb.loaded:
		case <-time.After(time.Minute):
			tb.screenshot("stuck")
			tb.t.Fatalf("no page at %s, but at %s; the tab was shown %v, and the browser complained: %q", prefix, tb.location(), tb.shown(), tb.complaints)
		case <-tb.ctx.Done():
			tb.t.Fatal(context.Cause(tb.ctx))
		}
		if strings.HasPrefix(tb.location(), prefix) {
			return
		}
	}
}

// open is a typed address; it waits for the page that this leads to, which may be elsewhere.
func (tb *tab) open(address, prefix string) {
	tb.t.Helper()
	tb.do(prefix, chromedp.Navigate(address))
}

// click presses what the selector finds and waits for the page that this leads to.
func (tb *tab) click(selector, prefix string) {
	tb.t.Helper()
	tb.do(prefix, chromedp.Click(chromedp.CSS(selector)))
}

// back presses the back button.
func (tb *tab) back(prefix string) {
	tb.t.Helper()
	tb.do(prefix, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		history, err := cdp.Call(ctx, target, cdppage.GetNavigationHistory, cdp.Empty{})
		if err != nil {
			return err
		}
		if history.CurrentIndex == 0 {
			return errors.New("there is nothing to go back to")
		}
		_, err = cdp.Call(ctx, target, cdppage.NavigateToHistoryEntry,
			cdppage.NavigateToHistoryEntryParams{EntryID: history.Entries[history.CurrentIndex-1].ID})
		return err
	}))
}

func (tb *tab) reload(prefix string) {
	tb.t.Helper()
	tb.do(prefix, chromedp.Reload())
}

func (tb *tab) location() string {
	tb.t.Helper()
	address, err := chromedp.Run(tb.ctx, chromedp.Location())
	if err != nil {
		tb.t.Fatal(err)
	}
	return address
}

// text is what a user reads on the page.
func (tb *tab) text() string {
	tb.t.Helper()
	return evaluate[string](tb, "document.body.innerText")
}

func evaluate[T any](tb *tab, script string) T {
	tb.t.Helper()
	v, err := chromedp.Run(tb.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		tb.t.Fatal(err)
	}
	return v
}

// screenshot keeps the whole page as artifacts/<name>.png.
func (tb *tab) screenshot(name string) {
	tb.t.Helper()
	picture, err := chromedp.Run(tb.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.MkdirAll("artifacts", 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join("artifacts", name+".png"), picture, 0o644)
	}
	if err != nil {
		tb.t.Error(err)
	}
}

// quiet fails the test if the browser found something to complain about on the way.
func (tb *tab) quiet() {
	tb.t.Helper()
	tb.mu.Lock()
	defer tb.mu.Unlock()
	for _, c := range tb.complaints {
		tb.t.Errorf("the browser complains: %s", c)
	}
}
