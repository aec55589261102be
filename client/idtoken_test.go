package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

func claim(name string, value any) authtest.Fault {
	return authtest.Fault{Endpoint: authtest.Token, JWT: func(t *authtest.JWT) {
		if t.Claims[name] = value; value == nil {
			delete(t.Claims, name)
		}
	}}
}

func head(name string, value any) authtest.Fault {
	return authtest.Fault{Endpoint: authtest.Token, JWT: func(t *authtest.JWT) {
		if t.Header[name] = value; value == nil {
			delete(t.Header, name)
		}
	}}
}

func signed(f func(t *authtest.JWT)) authtest.Fault {
	return authtest.Fault{Endpoint: authtest.Token, JWT: f}
}

func raw(f func(compact string) string) authtest.Fault {
	return authtest.Fault{Endpoint: authtest.Token, RawJWT: f}
}

// TestIDTokenRefused: one path through Exchange for each reason. The code is spent, the tokens of that response are dropped.
// Package idtoken has the details.
func TestIDTokenRefused(t *testing.T) {
	early := requests{token: 1} // refused before a key was looked for
	late := requests{token: 1, jwks: 1}
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).Unix() }
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		fault  func(b *bench) authtest.Fault // in the bubble, for its clock and its server
		reason string
		saw    requests
	}{
		{"ATK-J01 alg none", func(*bench) authtest.Fault {
			return signed(func(t *authtest.JWT) { t.Header["alg"], t.Key = "none", nil })
		}, "alg", early},
		{"ATK-J02 alg nOnE", func(*bench) authtest.Fault {
			return signed(func(t *authtest.JWT) { t.Header["alg"], t.Key = "nOnE", nil })
		}, "alg", early},
		{"ATK-J02 no alg", func(*bench) authtest.Fault { return head("alg", nil) }, "alg", early},
		{"ATK-J02 two segments", func(*bench) authtest.Fault {
			return raw(func(s string) string { return s[:strings.LastIndex(s, ".")] })
		}, "format", early},
		{"ATK-J03 HMAC with the public key", func(b *bench) authtest.Fault {
			signing := b.as.SigningKey("ES256")
			key, err := json.Marshal(signing.Public())
			if err != nil {
				b.Fatal(err)
			}
			return signed(func(t *authtest.JWT) { t.Header["alg"], t.Key = "HS256", key })
		}, "alg", early},
		{"ATK-J04 not the agreed algorithm", func(b *bench) authtest.Fault {
			return signed(func(t *authtest.JWT) { t.Key = b.as.SigningKey("EdDSA"); t.Header["alg"] = "EdDSA" })
		}, "alg", early},
		{"ATK-J06 aud of another", func(*bench) authtest.Fault { return claim("aud", "other") }, "aud", early},
		{"ATK-J06 aud missing", func(*bench) authtest.Fault { return claim("aud", nil) }, "aud", early},
		{"ATK-J07 two audiences without azp", func(*bench) authtest.Fault { return claim("aud", []string{"app", "evil"}) }, "azp", early},
		{"ATK-J07 two audiences with azp", func(*bench) authtest.Fault {
			return signed(func(t *authtest.JWT) { t.Claims["aud"], t.Claims["azp"] = []string{"app", "evil"}, "app" })
		}, "aud", early},
		{"ATK-J08 azp of another", func(*bench) authtest.Fault { return claim("azp", "evil") }, "azp", early},
		{"ATK-J09 iss of another", func(*bench) authtest.Fault { return claim("iss", "https://as-b.example") }, "iss", early},
		{"ATK-J09 iss with a slash", func(*bench) authtest.Fault { return claim("iss", issuer+"/") }, "iss", early},
		{"ATK-J10 no nonce", func(*bench) authtest.Fault { return claim("nonce", nil) }, "nonce", late},
		{"ATK-J11 another nonce", func(*bench) authtest.Fault { return claim("nonce", "another") }, "nonce", late},
		{"ATK-J11 nonce in an array", func(*bench) authtest.Fault {
			return signed(func(t *authtest.JWT) { t.Claims["nonce"] = []any{t.Claims["nonce"]} })
		}, "nonce", late},
		{"ATK-J12 expired", func(*bench) authtest.Fault { return claim("exp", ago(31*time.Second)) }, "exp", late},
		{"ATK-J13 issued in the future", func(*bench) authtest.Fault { return claim("iat", ago(-61*time.Second)) }, "iat", late},
		{"ATK-J14 not valid yet", func(*bench) authtest.Fault { return claim("nbf", ago(-61*time.Second)) }, "nbf", late},
		{"ATK-J15 issued long ago", func(*bench) authtest.Fault { return claim("iat", ago(10*time.Minute+time.Second)) }, "iat", late},
		{"ATK-J16 exp is a string", func(*bench) authtest.Fault { return claim("exp", "1700000000") }, "exp", late},
		{"ATK-J17 no sub", func(*bench) authtest.Fault { return claim("sub", nil) }, "sub", late},
		{"ATK-J17 sub is a number", func(*bench) authtest.Fault { return claim("sub", 7) }, "sub", late},
		{"ATK-J18 encrypted", func(*bench) authtest.Fault { return raw(func(s string) string { return s + ".a.b" }) }, "encrypted", early},
		{"ATK-J19 crit", func(*bench) authtest.Fault { return head("crit", []string{"exp"}) }, "crit", early},
		{"type of another token", func(*bench) authtest.Fault { return head("typ", "at+jwt") }, "typ", early},
		{"ATK-J21 giant", func(*bench) authtest.Fault { return claim("x", strings.Repeat("x", 64<<10)) }, "size", early},
		{"ATK-J22 sub twice", func(*bench) authtest.Fault {
			return signed(func(t *authtest.JWT) {
				b, _ := json.Marshal(t.Claims)
				t.RawClaims = append(b[:len(b)-1], `,"sub":"mallory"}`...)
			})
		}, "format", early},
		{"ATK-J23 key in the header", func(*bench) authtest.Fault {
			return signed(func(t *authtest.JWT) { t.Key, t.Header["jku"] = stranger, "https://evil.example/jwks" })
		}, "sig", late},
		{"ATK-J27 hostile kid", func(*bench) authtest.Fault { return head("kid", "' OR 1=1 --\r\n") }, "kid", requests{1, 0, 2}},
		{"ATK-J27 giant kid", func(*bench) authtest.Fault { return head("kid", strings.Repeat("k", 1<<10)) }, "kid", early},
		{"ATK-J31 at_hash of another token", func(*bench) authtest.Fault { return claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA") }, "at_hash", late},
		{"ATK-J32 c_hash of another code", func(*bench) authtest.Fault { return claim("c_hash", "AAAAAAAAAAAAAAAAAAAAAA") }, "c_hash", late},
		{"ATK-J35 signature of zeros", func(*bench) authtest.Fault {
			return raw(func(s string) string { return s[:strings.LastIndex(s, ".")+1] + strings.Repeat("A", 86) })
		}, "sig", late},
		{"ATK-J36 padded", func(*bench) authtest.Fault { return raw(func(s string) string { return s + "=" }) }, "format", early},
		{"ATK-J38 key of another server", func(*bench) authtest.Fault { return signed(func(t *authtest.JWT) { t.Key = stranger }) }, "sig", late},
	} {
		scenario(t, tc.name, func(b *bench) {
			b.as.Misbehave(tc.fault(b))
			tokens, err := b.login(client.AuthorizationOptions{})
			b.refused(tokens, err, failure{code: client.ErrIDToken, reason: tc.reason, requests: tc.saw})
			if n := b.net.count("evil.example"); n != 0 {
				b.Errorf("evil.example got %d requests", n)
			}
		}, func(s *setup) { s.client.IDTokenAlgorithms = []string{"ES256"} })
	}
	for name, fault := range map[string]func() authtest.Fault{
		"ATK-J07 one audience in an array": func() authtest.Fault { return claim("aud", []string{"app"}) },
		"ATK-J12 within the leeway":        func() authtest.Fault { return claim("exp", ago(29*time.Second)) },
		"ATK-J13 a little in the future":   func() authtest.Fault { return claim("iat", ago(-10*time.Second)) },
	} {
		scenario(t, name, func(b *bench) {
			b.as.Misbehave(fault())
			b.mustLogin(client.AuthorizationOptions{})
		})
	}
	scenario(t, "ATK-T25 no ID token", func(b *bench) {
		b.as.Misbehave(member(authtest.Token, "id_token", nil))
		tokens, err := b.login(client.AuthorizationOptions{})
		b.refused(tokens, err, failure{code: client.ErrIDToken, reason: "missing", requests: requests{token: 1}})
	})
	scenario(t, "not asked for, not looked at", func(b *bench) {
		b.as.Misbehave(member(authtest.Token, "id_token", "e30.e30.AA"))
		tokens := b.mustLogin(client.AuthorizationOptions{})
		if tokens.IDToken != nil || tokens.Subject != "" {
			b.Errorf("ID token %+v for subject %q", tokens.IDToken, tokens.Subject)
		}
	}, func(s *setup) { s.client.Scopes = []string{"api"} })
}

// ATK-J37: clocks that differ.
func TestClockSkew(t *testing.T) {
	for _, tc := range []struct {
		name   string
		offset time.Duration
		reason string
	}{
		{"ours is 20 s behind", -20 * time.Second, ""},
		{"ours is 20 s ahead", 20 * time.Second, ""},
		{"ours is 2 min behind", -2 * time.Minute, "iat"},
		{"ours is an hour and a minute ahead", time.Hour + time.Minute, "exp"},
	} {
		scenario(t, tc.name, func(b *bench) {
			tokens, err := b.login(client.AuthorizationOptions{})
			if tc.reason == "" {
				if err != nil {
					b.Fatal(err)
				}
				return
			}
			b.refused(tokens, err, failure{code: client.ErrIDToken, reason: tc.reason, requests: requests{token: 1, jwks: 1}})
		}, func(s *setup) { s.client.Now = func() time.Time { return time.Now().Add(tc.offset) } })
	}
}

// ATK-L37, ATK-J33: what was asked about the authentication is held against the ID token.
func TestAuthenticationAsked(t *testing.T) {
	late := requests{token: 1, jwks: 1}
	for _, tc := range []struct {
		name   string
		opts   client.AuthorizationOptions
		faults []authtest.Fault
		reason string
	}{
		{"max_age kept", client.AuthorizationOptions{MaxAge: time.Hour}, nil, ""},
		{"max_age=0 kept", client.AuthorizationOptions{MaxAge: 1}, nil, ""},
		{"acr kept", client.AuthorizationOptions{ACRValues: []string{"3", "2"}}, nil, ""},
		{"max_age and no auth_time", client.AuthorizationOptions{MaxAge: time.Hour}, []authtest.Fault{claim("auth_time", nil)}, "auth_time"},
		{"auth_time too old", client.AuthorizationOptions{MaxAge: time.Minute}, []authtest.Fault{signed(func(t *authtest.JWT) { t.Claims["auth_time"] = time.Now().Unix() - 91 })}, "auth_time"},
		{"auth_time too old for max_age=0", client.AuthorizationOptions{MaxAge: 1}, []authtest.Fault{signed(func(t *authtest.JWT) { t.Claims["auth_time"] = time.Now().Unix() - 31 })}, "auth_time"},
		{"auth_time is a string", client.AuthorizationOptions{}, []authtest.Fault{claim("auth_time", "now")}, "auth_time"},
		{"acr of less", client.AuthorizationOptions{ACRValues: []string{"3"}}, []authtest.Fault{claim("acr", "1")}, "acr"},
		{"no acr", client.AuthorizationOptions{ACRValues: []string{"3"}}, []authtest.Fault{claim("acr", nil)}, "acr"},
		{"not asked, not checked", client.AuthorizationOptions{}, []authtest.Fault{claim("acr", "0"), claim("auth_time", nil)}, ""},
	} {
		scenario(t, tc.name, func(b *bench) {
			b.as.Misbehave(tc.faults...)
			tokens, err := b.login(tc.opts)
			if tc.reason == "" {
				if err != nil {
					b.Fatal(err)
				}
				return
			}
			b.refused(tokens, err, failure{code: client.ErrIDToken, reason: tc.reason, action: client.ActionStepUp, requests: late})
		})
	}
}

// jwksFault edits the one key of the set.
func jwksFault(edit func(key map[string]any)) authtest.Fault {
	return authtest.Fault{Endpoint: authtest.JWKS, JSON: func(m map[string]any) {
		for _, k := range m["keys"].([]any) {
			edit(k.(map[string]any))
		}
	}}
}

func TestKeySet(t *testing.T) {
	noKey := failure{code: client.ErrIDToken, reason: "kid", requests: requests{token: 1, jwks: 2}} // one more look for the unknown key
	noSet := failure{code: client.ErrJWKS, outcome: client.Transient, action: client.ActionRetry, requests: requests{token: 1, jwks: 1}}
	for _, tc := range []struct {
		name  string
		fault authtest.Fault
		want  failure
	}{
		{"ATK-J05 key for encryption", jwksFault(func(k map[string]any) { k["use"] = "enc" }), noKey},
		{"ATK-J05 key for another algorithm", jwksFault(func(k map[string]any) { k["alg"] = "ES384" }), noKey},
		{"ATK-J05 symmetric key", jwksFault(func(k map[string]any) { k["kty"], k["k"] = "oct", "AAAA" }), noKey},
		{"ATK-J28 point off the curve", jwksFault(func(k map[string]any) { k["y"] = k["x"] }), noKey},
		{"ATK-J28 page", answer(authtest.JWKS, authtest.HTML(200)), noSet},
		{"ATK-J28 giant", answer(authtest.JWKS, authtest.JSON(200, `{"keys":[]}`+strings.Repeat(" ", 513<<10))), noSet},
		{"ATK-J28 redirect", answer(authtest.JWKS, authtest.Redirect(302, "https://evil.example/jwks")), noSet},
		{"ATK-J28 refused", answer(authtest.JWKS, page(403, "text/plain", "no")), noSet},
		{"ATK-J28 without an end", authtest.Fault{Endpoint: authtest.JWKS, Wire: authtest.Endless}, noSet},
		{"ATK-J28 slow", authtest.Fault{Endpoint: authtest.JWKS, Wire: authtest.StallBody}, noSet},
	} {
		scenario(t, tc.name, func(b *bench) {
			b.as.Misbehave(tc.fault)
			tokens, err := b.login(client.AuthorizationOptions{})
			b.refused(tokens, err, tc.want)
			if n := b.net.count("evil.example"); n != 0 {
				b.Errorf("evil.example got %d requests", n)
			}
			if tc.want.code == client.ErrJWKS && b.events.find(client.EventJWKS, "jwks.unavailable") == nil {
				b.Errorf("events are %q", b.events.kinds())
			}
		})
	}
	scenario(t, "ATK-J25 no kid, two keys", func(b *bench) {
		b.as.Misbehave(head("kid", nil))
		b.as.SigningKey("ES256")
		b.as.RotateKeys()
		tokens, err := b.login(client.AuthorizationOptions{})
		b.refused(tokens, err, failure{code: client.ErrIDToken, reason: "kid", requests: requests{token: 1, jwks: 2}})
	})
	scenario(t, "ATK-J25 no kid, one key", func(b *bench) {
		b.as.Misbehave(head("kid", nil))
		b.mustLogin(client.AuthorizationOptions{})
	})
	scenario(t, "ATK-J29 honest rotation", func(b *bench) {
		b.mustLogin(client.AuthorizationOptions{})
		b.as.RotateKeys()
		b.mustLogin(client.AuthorizationOptions{})
		b.saw(requests{token: 2, jwks: 2})
		if b.events.find(client.EventJWKS, "jwks.refetched") == nil {
			b.Errorf("events are %q", b.events.kinds())
		}
	})
	scenario(t, "ATK-J30 withdrawn key", func(b *bench) {
		old := b.as.SigningKey("ES256")
		b.mustLogin(client.AuthorizationOptions{})
		b.as.RotateKeys()
		b.as.RotateKeys()
		b.as.Misbehave(signed(func(t *authtest.JWT) { t.Key, t.Header["kid"] = old, old.KeyID }))
		time.Sleep(25 * time.Hour)
		tokens, err := b.login(client.AuthorizationOptions{})
		b.refused(tokens, err, failure{code: client.ErrIDToken, reason: "kid", requests: requests{token: 2, jwks: 3}})
	})
	scenario(t, "ATK-J24 flood of unknown key ids", func(b *bench) {
		b.mustLogin(client.AuthorizationOptions{})
		b.as.Misbehave(head("kid", "unknown"))
		for range 20 {
			tokens, err := b.login(client.AuthorizationOptions{})
			if tokens != nil || err == nil {
				b.Fatal("accepted")
			}
		}
		b.saw(requests{token: 21, jwks: 2})
		if b.events.find(client.EventJWKS, "jwks.budget_spent") == nil {
			b.Errorf("events are %q", b.events.kinds())
		}
	})
	scenario(t, "ATK-J26 one kid on two keys", func(b *bench) {
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, JSON: func(m map[string]any) {
			stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				panic(err)
			}
			signing := b.as.SigningKey("ES256")
			signing.Key = &stranger.PublicKey
			text, _ := json.Marshal(signing)
			var second map[string]any
			_ = json.Unmarshal(text, &second)
			m["keys"] = append(m["keys"].([]any), second)
		}})
		b.mustLogin(client.AuthorizationOptions{}) // both are tried
		b.saw(requests{token: 1, jwks: 1})
	})
	scenario(t, "openid asked for once, by a client without it, of a server without keys", func(b *bench) {
		b.as.Misbehave(member(authtest.Metadata, "jwks_uri", nil))
		tokens, err := b.login(client.AuthorizationOptions{Scopes: []string{"openid"}})
		want := noSet
		want.requests = requests{token: 1}
		b.refused(tokens, err, want)
	}, func(s *setup) { s.client.Scopes = []string{"api"} })
	// The keys are asked for without the secret and without a token.
	scenario(t, "the request", func(b *bench) {
		b.mustLogin(client.AuthorizationOptions{})
		r := b.as.Log(authtest.JWKS)[0]
		if r.Method != http.MethodGet || r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" || r.Body != "" {
			b.Errorf("%+v", r)
		}
	})
}

// Many logins at once on a cold cache fetch metadata and keys once.
func TestColdStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		gate := make(chan struct{})
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Wire: authtest.StallBefore, Gate: gate})
		done := make(chan error)
		for range 20 {
			go func() { _, err := b.login(client.AuthorizationOptions{}); done <- err }()
		}
		synctest.Wait()
		close(gate)
		for range 20 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		b.saw(requests{token: 20, jwks: 1})
	})
}
