package main

import (
	"bytes"
	"html"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// lockedBuffer is a log that handlers write and the test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)

// TestEmbeddedServer logs in and out as `go run ./examples/webapp` does without any configuration. At the logout the server
// tells the application over the back channel.
func TestEmbeddedServer(t *testing.T) {
	var log lockedBuffer
	env, err := readEnvironment(environ(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.close)
	h, _, err := routes(env.client, env.session, env.resource)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(h)
	_ = front.Listener.Close()
	front.Listener = env.listener
	front.Start()
	t.Cleanup(front.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar}
	send := func(target string, form url.Values) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		status, body, _ := do(t, c, req)
		return status, body
	}
	_, page, _ := get(t, c, env.home+"me", "Accept", "text/html")
	form := url.Values{"user": {"user-alice"}}
	for _, field := range hidden.FindAllStringSubmatch(page, -1) {
		form.Set(field[1], html.UnescapeString(field[2]))
	}
	if status, body := send(env.client.Issuer+"/login", form); status != http.StatusOK || !strings.Contains(body, "Alice") {
		t.Fatalf("the login ended with %d: %s", status, body)
	}
	if status, body := send(env.home+"auth/logout", nil); status != http.StatusOK || !strings.Contains(body, "You are logged out") {
		t.Errorf("the logout ended with %d: %s", status, body)
	}
	if !strings.Contains(log.String(), "msg=logout.received") || strings.Contains(log.String(), "logout.refused") {
		t.Errorf("the server told nobody:\n%s", log.String())
	}
}
