package idtoken

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestHostileFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		set := NewKeySet(KeySetConfig{
			Fetch: func(context.Context) ([]byte, string, error) {
				if calls++; calls == 1 {
					panic("evil")
				}
				return []byte(jwks(jwk(p256A(), "a"))), "", nil
			},
			OnEvent: func(string) { panic("evil") },
		})
		err := login(set, "a", p256A(), time.Now())
		wantReason(t, err, "jwks", "")
		if err := login(set, "a", p256A(), time.Now()); err != nil {
			t.Fatal(err)
		}
	})
	for name, set := range map[string]*KeySet{"nil": nil, "zero": {}, "no fetch": NewKeySet(KeySetConfig{})} {
		t.Run(name, func(t *testing.T) {
			wantReason(t, login(set, "a", p256A(), testNow), "jwks", "")
		})
	}
}

func TestBadKeySet(t *testing.T) {
	many := func(n int) string {
		keys := make([]any, n)
		for i := range keys {
			keys[i] = object{"kty": "AKP", "kid": fmt.Sprint(i)}
		}
		keys[n-1] = jwk(p256A(), "a")
		return jwks(keys...)
	}
	good := jwks(jwk(p256A(), "a"))
	for name, document := range map[string]string{
		"10 MB":            good[:len(good)-1] + strings.Repeat(" ", 10<<20) + "}",
		"512 kB and 1":     good + strings.Repeat(" ", 512<<10+1-len(good)),
		"5000 keys":        many(5000),
		"51 keys":          many(51),
		"HTML":             "<!DOCTYPE html><title>evil</title>",
		"empty":            "",
		"null":             "null",
		"array":            "[" + good + "]",
		"no keys":          "{}",
		"keys null":        `{"keys":null}`,
		"keys an object":   `{"keys":{}}`,
		"Keys":             strings.Replace(good, "keys", "Keys", 1),
		"keys twice":       good[:len(good)-1] + `,"keys":[]}`,
		"kid twice":        strings.Replace(good, `"kid":"a"`, `"kid":"a","kid":"b"`, 1),
		"trailing bytes":   good + "x",
		"BOM":              "\ufeff" + good,
		"an error, 200":    `{"error":"evil"}`,
		"the token itself": es256(claims()),
	} {
		t.Run("ATK-J28/"+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProvider()
				p.document = document
				set := p.keySet()
				err := login(set, "a", p256A(), p.clock())
				wantReason(t, err, "jwks", document)
				// The same document later leaves the old keys serving, up to the hard age.
				p.set(func() { p.document, p.now = good, p.now.Add(time.Minute) })
				p.expect(t, set, "a", p256A(), "", 2)
				p.set(func() { p.document, p.now = document, p.now.Add(time.Hour) })
				p.expect(t, set, "a", p256A(), "", 3)
				p.pass(23*time.Hour - 1)
				p.expect(t, set, "a", p256A(), "", 4)
				p.pass(time.Minute)
				p.expect(t, set, "a", p256A(), "jwks", 5)
			})
		})
	}
	for name, document := range map[string]string{
		"50 keys":        many(50),
		"512 kB":         good + strings.Repeat(" ", 512<<10-len(good)),
		"unknown member": good[:len(good)-1] + `,"x":{"y":[1]}}`,
	} {
		t.Run("usable/"+name, func(t *testing.T) {
			p := newProvider()
			p.document = document
			if err := login(p.keySet(), "a", p256A(), testNow); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("empty set withdraws every key", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(jwk(p256A(), "a"))
			set := p.keySet()
			p.expect(t, set, "a", p256A(), "", 1)
			p.set(func() { p.document, p.now = jwks(), p.now.Add(time.Hour) })
			p.expect(t, set, "a", p256A(), "", 2)
			p.expect(t, set, "a", p256A(), "kid", 3)
		})
	})
}
