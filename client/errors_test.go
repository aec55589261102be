package client_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/sallyport/sallyport/client"
)

func TestError(t *testing.T) {
	cause := client.NewError(client.ErrTimeout, "", context.DeadlineExceeded)
	e := client.NewError(client.ErrDiscovery, "timeout", cause).WithHint("try later")
	e.Status, e.ServerCode = 503, "server_error"
	if got, want := e.Error(), "sallyport: discovery (timeout): the server answered server_error with status 503: try later: sallyport: timeout: context deadline exceeded"; got != want {
		t.Errorf("Error is %q, want %q", got, want)
	}
	wrapped := fmt.Errorf("outside: %w", e)
	for _, target := range []error{client.ErrDiscovery, client.ErrTimeout, context.DeadlineExceeded, e, cause} {
		if !errors.Is(wrapped, target) {
			t.Errorf("errors.Is(%v, %v) is false", wrapped, target)
		}
	}
	for _, target := range []error{client.ErrConfig, client.Code(""), context.Canceled} {
		if errors.Is(wrapped, target) {
			t.Errorf("errors.Is(%v, %v) is true", wrapped, target)
		}
	}
	text, err := json.Marshal(e)
	if want := `{"code":"discovery","reason":"timeout","outcome":"transient","action":"retry","status":503,"server_code":"server_error"}`; err != nil || string(text) != want {
		t.Errorf("JSON is %s, %v, want %s", text, err, want)
	}
	var line bytes.Buffer
	slog.New(slog.NewTextHandler(&line, nil)).Info("m", "e", e)
	if !strings.Contains(line.String(), "e.code=discovery e.reason=timeout e.outcome=transient e.action=retry e.status=503 e.server_code=server_error") {
		t.Errorf("logged as %s", line.String())
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if got := fmt.Sprintf(verb, e); got != e.Error() {
			t.Errorf("%s is %q", verb, got)
		}
		if got := fmt.Sprintf(verb, *e); got != e.Error() {
			t.Errorf("%s of the value is %q", verb, got)
		}
	}
	var re *oauth2.RetrieveError
	if !errors.As(wrapped, &re) || re.ErrorCode != "server_error" || re.Response.StatusCode != 503 || re.Response.Body != http.NoBody {
		t.Errorf("RetrieveError is %+v", re)
	}
	var other *json.SyntaxError
	if errors.As(wrapped, &other) {
		t.Error("it is taken for something else")
	}
	if c, d, u := e.UntrustedServerError(); c+d+u != "" {
		t.Errorf("a server that said nothing said %q %q %q", c, d, u)
	}
}

func TestErrorDefaults(t *testing.T) {
	for code, want := range map[client.Code]struct {
		outcome client.Outcome
		action  client.Action
	}{
		client.ErrConfig:          {client.Rejected, client.ActionFixConfiguration},
		client.ErrIssuerMismatch:  {client.Rejected, client.ActionFixConfiguration},
		client.ErrEndpointRefused: {client.Rejected, client.ActionFixConfiguration},
		client.ErrDiscovery:       {client.Transient, client.ActionRetry},
		client.ErrTransport:       {client.Transient, client.ActionRetry},
		client.ErrTimeout:         {client.Transient, client.ActionRetry},
		client.ErrJWKS:            {client.Transient, client.ActionRetry},
		client.ErrRevocation:      {client.Transient, client.ActionRetry},
		client.ErrRefreshInDoubt:  {client.InDoubt, client.ActionRetry},
		client.ErrIDToken:         {client.Rejected, client.ActionLogin},
		client.ErrStateMismatch:   {client.Rejected, client.ActionLogin},
		client.Code("csrf"):       {client.Rejected, client.ActionLogin},
	} {
		if e := client.NewError(code, "", nil); e.Outcome != want.outcome || e.Action != want.action {
			t.Errorf("%s: %v, %v", code, e.Outcome, e.Action)
		}
	}
	for got, want := range map[string]string{
		client.Rejected.String(): "rejected", client.Transient.String(): "transient", client.InDoubt.String(): "in_doubt", client.Outcome(0).String(): "unknown",
		client.Outcome(-1).String(): "unknown", client.Outcome(9).String(): "unknown", client.ActionLogin.String(): "login", client.ActionRetry.String(): "retry",
		client.ActionStepUp.String(): "step_up", client.ActionFixConfiguration.String(): "fix_configuration", client.Action(9).String(): "unknown",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := client.ErrStateMismatch.Error(); got != "sallyport: state_mismatch" {
		t.Errorf("%q", got)
	}
}

// ATK-S05: a secret is not printed, logged or serialised.
func TestSecret(t *testing.T) {
	s := client.Secret("canary-secret")
	holder := struct {
		S  client.Secret
		P  *client.Secret
		L  []client.Secret
		M  map[string]client.Secret
		E  any
		TK client.Tokens
	}{s, &s, []client.Secret{s}, map[string]client.Secret{"k": s}, s, client.Tokens{AccessToken: s, RefreshToken: s, IDToken: &client.IDToken{Raw: s, Nonce: string(s)}}}
	for _, v := range []any{s, &s, holder, &holder, []any{s}} {
		for _, text := range append(renderings(v), fmt.Sprint(v), fmt.Sprintf("%x %X %t %c %8.3s", v, v, v, v, v)) {
			if strings.Contains(text, "canary") || strings.Contains(text, "63616e617279") {
				t.Errorf("%T prints as %q", v, text)
			}
		}
	}
	if err := gob.NewEncoder(&bytes.Buffer{}).Encode(s); err == nil {
		t.Error("gob encodes it")
	}
	if err := gob.NewEncoder(&bytes.Buffer{}).Encode(client.Tokens{AccessToken: s}); err == nil {
		t.Error("gob encodes tokens")
	}
	if got, err := s.Secret(ctx); err != nil || got != s {
		t.Error("it is not its own source")
	}
	if text, err := s.MarshalText(); err != nil || string(text) != "[redacted]" || s.String() != "[redacted]" || s.GoString() != "[redacted]" || s.LogValue().String() != "[redacted]" {
		t.Errorf("%s, %v", text, err)
	}
	tokens := client.Tokens{Scopes: []string{"openid", "email"}, Expiry: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))}
	if got := fmt.Sprintf("%#v", tokens); got != "tokens for openid email until 2026-01-02T02:04:05Z" {
		t.Errorf("tokens print as %q", got)
	}
	if got := (client.IDToken{Issuer: issuer, Subject: "alice"}).String(); got != "ID token of "+issuer {
		t.Errorf("an ID token prints as %q", got)
	}
}

func TestLogEvents(t *testing.T) {
	logged := func(e client.Event) (string, map[string]any) {
		var line bytes.Buffer
		client.LogEvents(slog.New(slog.NewJSONHandler(&line, nil)))(ctx, e)
		var m map[string]any
		if err := json.Unmarshal(line.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		delete(m, "time")
		return line.String(), m
	}
	_, m := logged(client.Event{Kind: client.EventSessionCreated, Issuer: issuer, ClientID: "app", Session: "fp", Generation: 3, Correlation: "c1"})
	if len(m) != 7 || m["level"] != "INFO" || m["msg"] != "session.created" || m["issuer"] != issuer || m["client_id"] != "app" || m["session"] != "fp" || m["generation"] != 3.0 || m["correlation"] != "c1" {
		t.Errorf("logged %v", m)
	}
	_, m = logged(client.Event{Kind: client.EventLoginRejected, Code: client.ErrIDToken, Reason: "nonce", Err: client.NewError(client.ErrIDToken, "nonce", nil)})
	if m["level"] != "WARN" || m["code"] != "id_token" || m["reason"] != "nonce" || m["error"] != "sallyport: id_token (nonce)" {
		t.Errorf("logged %v", m)
	}
	if _, m = logged(client.Event{Kind: client.EventQuirkActive, Reason: "NoPKCE"}); m["level"] != "WARN" {
		t.Errorf("logged %v", m)
	}
	// ATK-S01: one event a line, whatever is in it.
	var text bytes.Buffer
	hook := client.LogEvents(slog.New(slog.NewTextHandler(&text, nil)))
	hook(ctx, client.Event{Kind: client.EventLoginRejected, ClientID: "a\r\nlevel=INFO msg=forged\x1b[31m\u2028%!s", Err: errors.New("b\nc")})
	if out := text.String(); strings.Count(out, "\n") != 1 || strings.ContainsAny(out, "\r\x1b") {
		t.Errorf("logged %q", out)
	}
}
