package session

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/securecookie"

	"github.com/sallyport/sallyport/client"
)

func TestNewRefuses(t *testing.T) {
	keys := [][]byte{key(1)}
	for name, c := range map[string]struct {
		cfg  Config
		says string
	}{
		"no keys":             {Config{}, "GenerateKey"},
		"short key":           {Config{Keys: [][]byte{key(1), key(2)[:16]}}, "key 2 has 16 bytes"},
		"zero key":            {Config{Keys: [][]byte{make([]byte, 32)}}, "zeros"},
		"same key twice":      {Config{Keys: [][]byte{key(1), key(1)}}, "the same"},
		"nil codec":           {Config{Codecs: []securecookie.Codec{nil}}, "number 1 is nil"},
		"short hash key":      {Config{Codecs: []securecookie.Codec{SecureCookie(key(1)[:31], key(2))}}, "check its keys"},
		"odd block key":       {Config{Codecs: []securecookie.Codec{SecureCookie(key(1), key(2)[:20])}}, "check its keys"},
		"no block key":        {Config{Codecs: []securecookie.Codec{SecureCookie(key(1), nil)}}, "check its keys"},
		"one key for both":    {Config{Codecs: []securecookie.Codec{SecureCookie(key(1), key(1))}}, "check its keys"},
		"bound to no name":    {Config{Codecs: []securecookie.Codec{nameless{SecureCookie(key(1), key(2))}}}, "does not bind a value to its name"},
		"signed only, gob":    {Config{Codecs: []securecookie.Codec{SecureCookie(key(1), key(2)), securecookie.New(key(1), nil)}}, "number 2 does not encrypt"},
		"signed only, json":   {Config{Codecs: []securecookie.Codec{securecookie.New(key(1), nil).SetSerializer(securecookie.JSONEncoder{})}}, "does not encrypt"},
		"signed only, plain":  {Config{Keys: keys, Codecs: []securecookie.Codec{securecookie.New(key(1), nil).SetSerializer(securecookie.NopEncoder{})}}, "does not encrypt"},
		"gives nothing back":  {Config{Codecs: []securecookie.Codec{forgetful{}}}, "does not give back"},
		"cookie name":         {Config{Keys: keys, CookieName: "a b"}, "CookieName"},
		"cookie name dot":     {Config{Keys: keys, CookieName: "a.b"}, "CookieName"},
		"cookie name prefix":  {Config{Keys: keys, CookieName: "__Host-x"}, "CookieName"},
		"cookie name length":  {Config{Keys: keys, CookieName: strings.Repeat("a", 65)}, "CookieName"},
		"idle too short":      {Config{Keys: keys, IdleTimeout: time.Millisecond}, "IdleTimeout"},
		"idle negative":       {Config{Keys: keys, IdleTimeout: -time.Hour}, "IdleTimeout"},
		"absolute too long":   {Config{Keys: keys, AbsoluteTimeout: 401 * 24 * time.Hour}, "AbsoluteTimeout"},
		"login too long":      {Config{Keys: keys, LoginTimeout: 31 * time.Minute}, "LoginTimeout"},
		"too many logins":     {Config{Keys: keys, MaxLogins: 11}, "MaxLogins"},
		"negative logins":     {Config{Keys: keys, MaxLogins: -1}, "MaxLogins"},
		"http origin":         {Config{Keys: keys, Origin: "http://rp.example"}, "https"},
		"origin with a slash": {Config{Keys: keys, Origin: "https://rp.example/"}, "Origin"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := New(c.cfg)
			if !errors.Is(err, client.ErrConfig) || m != nil {
				t.Fatalf("%v", err)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%q does not say %q", err, c.says)
			}
			var e *client.Error
			if errors.As(err, &e); e.Action != client.ActionFixConfiguration {
				t.Fatal("not for the operator")
			}
		})
	}
}

type forgetful struct{}

func (forgetful) Encode(string, any) (string, error) { return "sealed", nil }
func (forgetful) Decode(string, string, any) error   { return nil }

func TestNewAcceptsAnyEncryptingCodec(t *testing.T) {
	for name, c := range map[string]securecookie.Codec{
		"gob":  securecookie.New(key(1), key(2)),
		"json": securecookie.New(key(1), key(2)).SetSerializer(securecookie.JSONEncoder{}),
		"nop":  securecookie.New(key(1), key(2)).SetSerializer(securecookie.NopEncoder{}),
		"ours": SecureCookie(key(1), key(2)),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, Config{Codecs: []securecookie.Codec{c}})
			br := newBrowser(t)
			b.login(br, "alice")
			if s := b.load(br); s.Subject() != "alice" || string(s.AccessToken()) != "access-1" {
				t.Fatal("another session")
			}
		})
	}
}

func TestSecureCookieIsACodecForAll(t *testing.T) {
	c := SecureCookie(key(1), key(2))
	rec := testRecord()
	text, err := c.Encode("n", rec)
	if err != nil {
		t.Fatal(err)
	}
	var out record
	if err := c.Decode("n", text, &out); err != nil || out.subject != "alice" {
		t.Fatal(err)
	}
	if _, err := c.Encode("n", 5); err == nil {
		t.Fatal("encoded a number")
	}
	if err := c.Decode("n", text, new(int)); err == nil {
		t.Fatal("decoded into a number")
	}
	mine := []byte("mine")
	if _, err := c.Encode("n", mine); err != nil || string(mine) != "mine" {
		t.Fatal("the caller's slice was encrypted")
	}
	bad := SecureCookie(nil, nil)
	if _, err := bad.Encode("n", mine); err == nil {
		t.Fatal("sealed without keys")
	}
	if err := bad.Decode("n", text, new([]byte)); err == nil {
		t.Fatal("opened without keys")
	}
	// ATK-K13: one spelling of one value.
	for _, s := range []string{"", "AA", text + "\n", "\r" + text, text[:10] + "\n" + text[10:], respell(text)} {
		if err := c.Decode("n", s, new([]byte)); err == nil {
			t.Errorf("%q opened", s)
		}
	}
}

// respell sets bits at the end of padded base64 that encoding/base64 ignores.
func respell(s string) string {
	b := []byte(s)
	i := len(bytes.TrimRight(b, "=")) - 1
	if i == len(b)-1 {
		b[i] = '!' // no padding, no bits to spare
	} else {
		b[i]++
	}
	return string(b)
}

func TestForOrigin(t *testing.T) {
	m, err := New(Config{Keys: [][]byte{key(1)}})
	if err != nil {
		t.Fatal(err)
	}
	if m.Origin() != "" || m.session.Name != "__Host-sallyport" || !m.session.Secure {
		t.Fatal("a manager without origin is not the strict one")
	}
	for in, want := range map[string]string{
		"https://rp.example":      "https://rp.example",
		"https://RP.example:443":  "https://rp.example",
		"https://rp.example:8443": "https://rp.example:8443",
		"http://127.0.0.1:8080":   "http://127.0.0.1:8080",
		"http://localhost:80":     "http://localhost",
		"http://[::1]:8080":       "http://[::1]:8080",
		"https://[2001:db8::1]":   "https://[2001:db8::1]",
	} {
		v, err := m.ForOrigin(in)
		if err != nil || v.Origin() != want {
			t.Errorf("%s: %v, %v", in, v, err)
			continue
		}
		secure := strings.HasPrefix(want, "https:")
		if v.session.Secure != secure || strings.HasPrefix(v.session.Name, "__Host-") != secure || v.login.Secure != secure {
			t.Errorf("%s: cookie %+v", in, v.session)
		}
		if v.shared != m.shared {
			t.Error("a view has state of its own")
		}
		if _, err := v.ForOrigin(in); err != nil {
			t.Error(err)
		}
		if _, err := v.ForOrigin("https://other.example"); !errors.Is(err, client.ErrConfig) {
			t.Errorf("a second origin: %v", err)
		}
	}
	for _, in := range []string{
		"", "rp.example", "//rp.example", "https://", "https://:443", "https://u@rp.example", "https://rp.example?x", "https://rp.example?",
		"https://rp.example#", "https://rp.example/x", "http://rp.example", "ftp://rp.example", "http://127.0.0.1.evil.example", "https://%zz",
	} {
		if _, err := m.ForOrigin(in); !errors.Is(err, client.ErrConfig) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestReport(t *testing.T) {
	calls := 0
	m, err := New(Config{Keys: [][]byte{key(1)}, OnEvent: func(_ context.Context, e client.Event) {
		calls++
		if e.Time.IsZero() || e.Kind != "x" {
			t.Error("an event without time or kind")
		}
		panic("CANARY")
	}})
	if err != nil {
		t.Fatal(err)
	}
	m.Report(context.Background(), client.Event{Kind: "x"}) // ATK-S03: a hook's panic stays here
	if calls != 1 {
		t.Fatal("not called")
	}
	quiet, _ := New(Config{Keys: [][]byte{key(1)}})
	quiet.Report(context.Background(), client.Event{})
}

func TestGenerateKey(t *testing.T) {
	a, b := GenerateKey(), GenerateKey()
	if len(a) != 32 || bytes.Equal(a, b) {
		t.Fatal("not random keys")
	}
}

func TestFingerprint(t *testing.T) {
	// It is the same in every process with the key, and shows nothing of the id.
	a, b := newBed(t, Config{Keys: [][]byte{key(1)}}), newBed(t, Config{Keys: [][]byte{key(1), key(2)}})
	id := testRecord().id
	if a.fingerprint(id) != b.fingerprint(id) || len(a.fingerprint(id)) != 16 {
		t.Fatal("two names for one session")
	}
	other := newBed(t, Config{Keys: [][]byte{key(2)}})
	if a.fingerprint(id) == other.fingerprint(id) {
		t.Fatal("not keyed")
	}
}

// nameless is a codec that encrypts and authenticates, and forgets what for.
type nameless struct{ securecookie.Codec }

func (n nameless) Encode(_ string, v any) (string, error) { return n.Codec.Encode("x", v) }
func (n nameless) Decode(_, text string, dst any) error   { return n.Codec.Decode("x", text, dst) }
