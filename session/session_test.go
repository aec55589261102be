package session

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
)

func TestNothingIsPrinted(t *testing.T) {
	// ATK-S05: whatever prints a session or a configuration prints a placeholder.
	rec := testRecord()
	rec.accessToken, rec.refreshToken, rec.idToken, rec.subject = "CANARY-1", "CANARY-2", packJWT(testJWT(`{"c":"CANARY-3"}`)), "CANARY-4"
	rec.attributes = []attribute{{"n", "CANARY-5"}}
	s := &Session{rec: *rec}
	cfg := Config{Keys: [][]byte{[]byte("CANARY-6CANARY-6CANARY-6CANARY-6")}}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, v := range []any{s, *s, cfg, &cfg, m, *m, struct{ S *Session }{s}, struct{ S Session }{*s}, []Session{*s}, map[string]Config{"c": cfg}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb, v)
		}
		b, _ := json.Marshal(v)
		out.Write(b)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	for _, v := range []any{s, *s, cfg} {
		if err := gob.NewEncoder(&out).Encode(v); err == nil {
			t.Fatalf("gob took a %T", v)
		}
	}
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	out.WriteString(s.String() + s.GoString() + cfg.String() + cfg.GoString() + string(text))
	if printed := out.String(); strings.Contains(printed, "CANARY") || strings.Contains(printed, "67 65 78 65 82 89") || strings.Contains(printed, "43414e415259") || strings.Contains(printed, "0x43, 0x41") {
		t.Fatalf("printed: %s", printed)
	}
}

func TestSessionReads(t *testing.T) {
	raw := testJWT(`{"iss":"https://as-a.example","sub":"alice","aud":"app","exp":1900000600,"iat":1900000000}`)
	rec := testRecord()
	rec.attributes, rec.idToken = nil, packJWT(raw)
	s := &Session{rec: *rec}
	if s.Issuer() != testIssuer || s.ClientID() != testClient || s.Subject() != "alice" || s.SID() != "sid-1" || s.TokenGeneration() != 7 {
		t.Fatal("who")
	}
	if !slices.Equal(s.Scopes(), []string{"openid", "profile"}) || !s.HasScope("profile") || s.HasScope("prof") || s.HasScope("") || s.HasScope("openid profile") {
		t.Fatal("scopes")
	}
	if s.CreatedAt() != time.Unix(rec.created, 0) || s.AccessTokenExpiry() != time.Unix(rec.accessExpiry, 0) || s.ExpiresAt() != time.Unix(rec.seen+rec.idle, 0) {
		t.Fatal("times")
	}
	var c, u struct{ Sub string }
	if err := s.Claims(&c); err != nil || c.Sub != "alice" {
		t.Fatalf("claims: %v", err)
	}
	if err := s.UserInfo(&u); err != nil || u.Sub != "alice" {
		t.Fatalf("userinfo: %v", err)
	}
	tok := s.Token()
	if tok.AccessToken != rec.accessToken || tok.RefreshToken != rec.refreshToken || tok.TokenType != "Bearer" || tok.Expiry.Unix() != rec.accessExpiry || tok.AccessToken != string(s.AccessToken()) {
		t.Fatal("token")
	}
	all := s.Tokens()
	if all.IDToken == nil || string(all.IDToken.Raw) != raw || all.IDToken.Subject != "alice" || string(all.UserInfo) != rec.userInfo || all.Subject != "alice" {
		t.Fatalf("tokens: %+v", all)
	}

	// Without an ID token, the claims are the userinfo's; without either there are none.
	s.rec.idToken = ""
	s.rec.userInfo = `{"sub":"bob"}`
	if err := s.Claims(&c); err != nil || c.Sub != "bob" || s.Tokens().IDToken != nil {
		t.Fatal(err)
	}
	s.rec.userInfo = ""
	if err := s.Claims(&c); !errors.Is(err, ErrNoClaims) {
		t.Fatal(err)
	}
	if err := s.UserInfo(&c); !errors.Is(err, ErrNoClaims) || s.Tokens().UserInfo != nil {
		t.Fatal(err)
	}
	s.rec.accessExpiry = 0
	if !s.AccessTokenExpiry().IsZero() || !s.Token().Expiry.IsZero() {
		t.Fatal("an expiry that the server did not say")
	}
}

func TestSessionWith(t *testing.T) {
	s := &Session{rec: *testRecord()}
	next, err := s.With("theme", "light")
	if err != nil || next.Get("theme") != "light" || s.Get("theme") != "dark" || next.Get("other") != "" {
		t.Fatal("a snapshot changed, or the next one did not")
	}
	if next, err = next.With("theme", ""); err != nil || next.Get("theme") != "" || len(next.rec.attributes) != 1 {
		t.Fatal("not removed")
	}
	// ATK-K05: an application cannot make the cookie too long by attributes.
	if _, err := s.With("x", strings.Repeat("x", maxAttributeBytes)); err == nil {
		t.Fatal("too long accepted")
	} else {
		wantError(t, err, ErrCookie, "size")
	}
	for i := range maxAttributes + 1 {
		if s, err = s.With("n"+itoa(i), "v"); err != nil {
			wantError(t, err, ErrCookie, "size")
			return
		}
	}
	t.Fatal("too many accepted")
}

func ExampleTest() {
	s := Test("alice", func(t *client.Tokens) {
		t.Scopes = []string{"openid", "admin"}
		t.UserInfo = []byte(`{"email":"alice@example.com"}`)
	})
	var who struct{ Email string }
	err := s.Claims(&who)
	fmt.Println(s.Subject(), s.HasScope("admin"), who.Email, err)
	// Output: alice true alice@example.com <nil>
}

func TestTestIsNoKey(t *testing.T) {
	id, err := client.RestoreIDToken(client.Secret(testJWT(`{"iss":"https://issuer.example","sub":"alice","aud":"test","exp":1,"iat":1,"sid":"s1"}`)))
	if err != nil {
		t.Fatal(err)
	}
	s := Test("alice", func(t *client.Tokens) { t.IDToken = id })
	if s.SID() != "s1" || s.ID() == "" || !s.ExpiresAt().After(time.Now()) || s.AccessTokenExpiry().Before(time.Now()) {
		t.Fatal("not like a session")
	}
}
