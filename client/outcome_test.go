package client_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
	"testing/synctest"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

// refused asserts that err is want, that nothing was returned, that the server saw no more than it should have, and that no secret is in what was said about it.
func (b *bench) refused(got *client.Tokens, err error, want failure) {
	b.Helper()
	if got != nil {
		b.Errorf("tokens were returned beside the error")
	}
	b.failed(err, want)
	b.saw(want.requests)
}

func (b *bench) failed(err error, want failure) {
	b.Helper()
	if want.outcome == 0 {
		want.outcome = client.Rejected
	}
	if want.action == 0 {
		want.action = client.ActionLogin
	}
	var e *client.Error
	if !errors.As(err, &e) {
		b.Fatalf("error is %v, want an *Error with %s", err, want.code)
	}
	if !errors.Is(err, want.code) {
		b.Errorf("errors.Is(%v, %s) is false", err, want.code)
	}
	got := failure{e.Code, e.Reason, e.Outcome, e.Action, e.Status, e.ServerCode, want.requests}
	if got != want {
		b.Errorf("failure is\n%+v, want\n%+v", got, want)
	}
	for err := error(e); err != nil; err = errors.Unwrap(err) {
		b.silent("error", err)
	}
	b.silentEvents()
}

func (b *bench) saw(want requests) {
	b.Helper()
	synctest.Wait()
	got := requests{b.as.Requests(authtest.Token), b.as.Requests(authtest.UserInfo), b.as.Requests(authtest.JWKS)}
	if got != want {
		b.Errorf("the server saw %+v, want %+v", got, want)
	}
}

func (b *bench) silentEvents() {
	b.Helper()
	synctest.Wait()
	for _, e := range b.events.all() {
		b.silent("event", e)
		var text, line bytes.Buffer
		client.LogEvents(slog.New(slog.NewTextHandler(&text, nil)))(ctx, e)
		client.LogEvents(slog.New(slog.NewJSONHandler(&line, nil)))(ctx, e)
		b.search("logged event", text.String()+line.String())
	}
}

// silent prints v in every way and searches for secrets.
func (b *bench) silent(what string, v any) {
	b.Helper()
	for _, text := range renderings(v) {
		b.search(what, text)
	}
}

func (b *bench) search(what, text string) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for value, kind := range b.canaries {
		if strings.Contains(text, value) || strings.Contains(text, url.QueryEscape(value)) {
			b.Errorf("%s shows the %s: %.300q", what, kind, text)
		}
	}
}

func renderings(v any) []string {
	var under []string
	if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer && !p.IsNil() {
		under = renderings(p.Elem().Interface())
	}
	var text, line bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v)
	slog.New(slog.NewJSONHandler(&line, nil)).Info("m", "v", v)
	out := append(under, text.String(), line.String())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
		out = append(out, fmt.Sprintf(verb, v))
	}
	if b, err := json.Marshal(v); err == nil {
		out = append(out, string(b))
	}
	if err, ok := v.(error); ok {
		out = append(out, err.Error())
	}
	return out
}
