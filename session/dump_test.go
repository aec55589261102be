package session

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
)

// spellings are the ways in which a secret could stand in a dump: as it is, in hexadecimal, and in base64 at each alignment.
func spellings(secret string) (all [][]byte) {
	all = append(all, []byte(secret), []byte(hex.EncodeToString([]byte(secret))), []byte(strings.ToUpper(hex.EncodeToString([]byte(secret)))))
	for shift := range 3 {
		padded := append(make([]byte, shift), secret...)
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := enc.EncodeToString(padded)
			// The first characters are of the padding, too, and the last would be of what follows.
			start, end := []int{0, 2, 3}[shift], len(padded)*8/6
			all = append(all, []byte(text[start:end]))
		}
	}
	return all
}

func TestSpellings(t *testing.T) {
	const secret = "a secret of some length"
	for before := range 5 {
		text := base64.RawURLEncoding.EncodeToString([]byte("xxxxxxx"[:before] + secret + "yyy"))
		found := false
		for _, s := range spellings(secret) {
			found = found || bytes.Contains([]byte(text), s)
		}
		if !found {
			t.Errorf("not found after %d bytes", before)
		}
	}
}

// Whatever is done, a dump of the store's keys and values shows no id, token, user, issuer or state.
func TestDump(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		const subject, sid, jti = "subject-4711-canary", "sid-4712-canary", "jti-4713-canary"
		var secrets []string
		b, br := all[0], newBrowser(t)
		c, _ := testClientFor(t, time.Now)
		login := func(br *browser) *Session {
			var s *Session
			state := b.start(br, c, LoginOptions{ReturnTo: "/return-4714-canary"})
			br.do(func(w http.ResponseWriter, r *http.Request) {
				l, err := b.FindLogin(r, state)
				if err == nil {
					err = b.TakeLogin(w, r, l, true)
				}
				tok := testTokens(subject, 1, time.Now().Add(time.Hour))
				tok.AccessToken, tok.RefreshToken = "access-4715-canary", "refresh-4716-canary"
				tok.IDToken = &client.IDToken{SID: sid, Raw: client.Secret(testJWT(`{"sub":"claims-4717-canary"}`))}
				tok.UserInfo = []byte(`{"name":"userinfo-4718-canary"}`)
				if err == nil {
					s, err = b.createFor(w, r, testIssuer, testClient, l, tok)
				}
				if err != nil {
					t.Fatal(err)
				}
			})
			secrets = append(secrets, state, string(s.rec.id[:]))
			return s
		}
		login(br)
		b.as.next = func(tok *client.Tokens) {
			tok.AccessToken, tok.RefreshToken = "access-4719-canary", "refresh-4720-canary"
		}
		time.Sleep(time.Hour)
		a := all[1].ask(br, time.Minute)
		if a.err != nil {
			t.Fatal(a.err)
		}
		br.take(a.h)
		if err := all[1].save(br, all[1].load(br), "colour-4721-canary", "blue-4722-canary"); err != nil {
			t.Fatal(err)
		}
		b.as.fail(client.NewError(client.ErrRefreshInDoubt, "", nil))
		time.Sleep(time.Hour)
		_ = b.ask(br, time.Minute)
		other := newBrowser(t)
		login(other)
		if _, err := b.endIn(other); err != nil {
			t.Fatal(err)
		}
		if err := all[1].endByLogoutToken(t.Context(), all[1].server(), all[1].logoutToken(jti, subject, sid)); err != nil {
			t.Fatal(err)
		}
		if _, err := b.endSubject(t.Context(), b.server(), subject); err != nil {
			t.Fatal(err)
		}
		if err := b.EndEverySession(t.Context()); err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, testIssuer, testClient+" ", subject, sid, jti, "-canary", "access-47", "refresh-47", "claims-47", "userinfo", "colour", "openid profile")
		kinds := map[byte]int{}
		for _, b := range all {
			b.wire.mu.Lock()
			for _, call := range b.wire.calls {
				kinds[call.key[0]]++
				if len(call.key) > 64 || strings.Trim(call.key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:") != "" {
					t.Fatalf("key %q", call.key)
				}
				for _, s := range secrets {
					for _, spelt := range spellings(s) {
						if bytes.Contains(call.value, spelt) || strings.Contains(call.key, string(spelt)) {
							t.Fatalf("%q stands under %q", spelt, call.key)
						}
					}
				}
			}
			b.wire.mu.Unlock()
		}
		for _, kind := range []byte{keySession, keyOnce, keyRoster, keyToken} {
			if kinds[kind] == 0 {
				t.Errorf("no key of kind %c", kind)
			}
		}
	})
}

// Who has the store and not the keys can neither guess a subject's or a logout token's key by hashing.
func TestKeysOfNamesAreKeyed(t *testing.T) {
	one := newBed(t, Config{Coordination: &wire{store: NewMemory(MemoryOptions{}), shared: true}})
	two := newBed(t, Config{Keys: [][]byte{key(9)}, Coordination: &wire{store: NewMemory(MemoryOptions{}), shared: true}})
	for _, kind := range []byte{keyRoster, keyToken} {
		a, b := one.names(kind, bySubject, testIssuer, "alice"), two.names(kind, bySubject, testIssuer, "alice")
		if a[0] == b[0] || a[0] == nameHere(kind, bySubject, testIssuer, "alice") {
			t.Error("a key that anybody can make")
		}
	}
	// And the texts do not run into each other.
	if one.names(keyRoster, "ab", "c")[0] == one.names(keyRoster, "a", "bc")[0] {
		t.Error("two names, one key")
	}
}
