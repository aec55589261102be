package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

const form = "application/x-www-form-urlencoded"

// logoutToken is one of the bench's server, bent by edit.
func (b *bench) logoutToken(subject, sid string, edit func(*authtest.JWT)) string {
	b.Helper()
	defer b.as.Misbehave(authtest.Fault{Endpoint: authtest.BackchannelLogout, JWT: func(t *authtest.JWT) {
		if edit != nil {
			edit(t)
		}
	}})()
	token, err := b.as.LogoutToken("app", subject, sid)
	if err != nil {
		b.Fatal(err)
	}
	return token
}

func logoutRequest(token string) *http.Request {
	return post(form, strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
}

func wantLogout(t *testing.T, err error, reason string) {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) || e.Code != client.ErrLogoutToken || e.Reason != reason || e.Outcome != client.Rejected || e.Action != client.ActionFixConfiguration {
		t.Errorf("error %v, want %s (%s)", err, client.ErrLogoutToken, reason)
	}
}

func TestLogoutToken(t *testing.T) {
	scenario(t, "verified", func(b *bench) {
		now := time.Now()
		lt, err := b.c.LogoutToken(logoutRequest(b.logoutToken("user-alice", "s1", func(t *authtest.JWT) {
			t.Claims["jti"], t.Claims["exp"] = "id-1", now.Add(time.Minute).Unix()
		})))
		if err != nil {
			b.Fatal(err)
		}
		if lt.Issuer != issuer || lt.Subject != "user-alice" || lt.SID != "s1" || lt.ID != "id-1" || !lt.ReceivedAt.Equal(now) {
			b.Errorf("%q %q %q %q %s", lt.Issuer, lt.Subject, lt.SID, lt.ID, lt.ReceivedAt)
		}
		// exp and twice the leeway: with one of them it is accepted, the other is for a clock that is set back.
		if want := lt.Expiry.Add(time.Minute); !lt.ReplayableUntil.Equal(want) {
			b.Errorf("replayable until %s, want %s", lt.ReplayableUntil, want)
		}
		for _, text := range []string{fmt.Sprint(lt), fmt.Sprintf("%+v %#v %d", lt, *lt, *lt), lt.LogValue().String()} {
			if strings.Contains(text, "alice") || strings.Contains(text, "s1") || !strings.Contains(text, "logout token of "+issuer) {
				b.Errorf("printed as %s", text)
			}
		}
	})
	scenario(t, "exp in ten years is not remembered for so long", func(b *bench) {
		lt, err := b.c.LogoutToken(logoutRequest(b.logoutToken("", "s1", func(t *authtest.JWT) { t.Claims["exp"] = time.Now().AddDate(9, 0, 0).Unix() })))
		if err != nil {
			b.Fatal(err)
		}
		if d := lt.ReplayableUntil.Sub(lt.IssuedAt); d != 2*time.Minute+3*30*time.Second {
			b.Errorf("remembered for %s", d)
		}
	})
	scenario(t, "chosen by issuer", func(b *bench) {
		l, err := client.ReadLogoutRequest(logoutRequest(b.logoutToken("", "s1", nil)))
		if err != nil || l.UnverifiedIssuer() != issuer {
			b.Fatal(err)
		}
		for _, text := range []string{fmt.Sprintf("%v %+v %#v", l, l, *l), l.LogValue().String()} {
			if strings.Contains(text, "ey") || strings.Contains(text, issuer) {
				b.Errorf("printed as %s", text)
			}
		}
		lt, err := b.c.VerifyLogout(ctx, l)
		if err != nil || lt.SID != "s1" {
			b.Fatal(err)
		}
		// ATK-O08: nobody else's client takes it, whatever it was chosen by.
		b.become(client.Config{Issuer: "https://other.example", ClientID: "app", RedirectURI: callback})
		_, err = b.c.VerifyLogout(ctx, l)
		wantLogout(b.T, err, "iss")
	})
	scenario(t, "HMAC", func(b *bench) {
		edit := func(t *authtest.JWT) { t.Header["alg"], t.Key = "HS256", []byte(strings.Repeat("k", 32)) }
		token := b.logoutToken("", "s1", edit)
		_, err := b.c.LogoutToken(logoutRequest(token)) // ATK-O07
		wantLogout(b.T, err, "alg")
		source := client.Secret(strings.Repeat("k", 32))
		b.c, err = client.New(client.Config{Issuer: issuer, ClientID: "app", RedirectURI: callback, Authentication: client.SecretBasic(client.SecretFunc(source.Secret)), Transport: b.net,
			IDTokenAlgorithms: []string{"HS256"}, Quirks: client.Quirks{AllowHMAC: true}})
		if err != nil {
			b.Fatal(err)
		}
		b.as.Misbehave(member(authtest.Metadata, "id_token_signing_alg_values_supported", []string{"HS256"}))
		if _, err := b.c.LogoutToken(logoutRequest(token)); err != nil {
			b.Error(err)
		}
		_, err = b.c.LogoutToken(logoutRequest(b.logoutToken("", "s1", nil)))
		wantLogout(b.T, err, "alg")
		_, err = b.c.LogoutToken(logoutRequest(token[:len(token)-4] + "AAAA"))
		wantLogout(b.T, err, "sig")
	})
	// ATK-O07: the algorithm is that of this client's ID tokens, once one has been seen (OpenID Connect Back-Channel Logout 1.0 §2.6).
	scenario(t, "another algorithm than the ID tokens'", func(b *bench) {
		b.as.Misbehave(member(authtest.Metadata, "id_token_signing_alg_values_supported", []string{"ES256", "RS256"}))
		rs256 := func(t *authtest.JWT) {
			t.Header["alg"], t.Header["kid"], t.Key = "RS256", b.as.SigningKey("RS256").KeyID, b.as.SigningKey("RS256").Key
		}
		if _, err := b.c.LogoutToken(logoutRequest(b.logoutToken("", "s1", rs256))); err != nil {
			b.Errorf("before any login: %v", err)
		}
		b.mustLogin(client.AuthorizationOptions{})
		_, err := b.c.LogoutToken(logoutRequest(b.logoutToken("", "s1", rs256)))
		wantLogout(b.T, err, "alg")
		if _, err := b.c.LogoutToken(logoutRequest(b.logoutToken("", "s1", nil))); err != nil {
			b.Error(err)
		}
	})
	scenario(t, "keys away", func(b *bench) {
		b.as.Misbehave(answer(authtest.JWKS, &authtest.Response{Status: 503}))
		_, err := b.c.LogoutToken(logoutRequest(b.logoutToken("", "s1", nil)))
		var e *client.Error
		if !errors.Is(err, client.ErrJWKS) || !errors.As(err, &e) || e.Outcome != client.Transient {
			b.Errorf("%v", err)
		}
	})
	scenario(t, "login and refresh", func(b *bench) {
		before := time.Now()
		var sent time.Time
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Times: 1, Response: func(r *authtest.Request, _ *authtest.Response) {
			sent = r.Time
			time.Sleep(3 * time.Second)
		}})
		tokens := b.mustLogin(client.AuthorizationOptions{}) // ATK-O19: not the time of the answer
		if tokens.ObtainedAt.Before(before) || tokens.ObtainedAt.After(sent) || !tokens.ObtainedAt.Before(time.Now()) {
			b.Errorf("obtained at %s, sent at %s", tokens.ObtainedAt, sent)
		}
		next, err := b.c.Refresh(ctx, tokens)
		if err != nil || !next.ObtainedAt.Equal(tokens.ObtainedAt) {
			b.Errorf("%v, a refresh makes them of %s", err, next.ObtainedAt)
		}
	})
}

// ATK-O12: shape, before anything is read out of the token.
func TestReadLogoutRequest(t *testing.T) {
	const token = "e30.eyJpc3MiOiJpIn0.e30" // {"iss":"i"}
	with := func(method, query, contentType, body string) *http.Request {
		r := post(contentType, strings.NewReader(body))
		r.Method, r.URL.RawQuery = method, query
		return r
	}
	for name, tt := range map[string]struct {
		r      *http.Request
		reason string
	}{
		"good":                {with("POST", "a=b", form+";charset=UTF-8", "x=y&logout_token="+token), ""},
		"GET":                 {with("GET", "logout_token="+token, "", ""), "method"},
		"PUT":                 {with("PUT", "", form, "logout_token="+token), "method"},
		"JSON":                {with("POST", "", "application/json", `{}`), "content_type"},
		"no type":             {with("POST", "", "", "logout_token="+token), "content_type"},
		"twice":               {with("POST", "", form, "logout_token="+token+"&logout_token="+token), "duplicate"},
		"twice, one empty":    {with("POST", "", form, "logout_token="+token+"&logout_token="), "duplicate"},
		"in the query":        {with("POST", "logout_token=x", form, "logout_token="+token), "query"},
		"in the query, coded": {with("POST", "logout%5Ftoken=x", form, "logout_token="+token), "query"},
		"broken query":        {with("POST", "a=%", form, "logout_token="+token), "encoding"},
		"long query":          {with("POST", "a="+strings.Repeat("a", 8<<10), form, "logout_token="+token), "size"},
		"broken form":         {with("POST", "", form, "a=%&logout_token="+token), "encoding"},
		"many parameters":     {with("POST", "", form, strings.Repeat("a=&", 100)+"logout_token="+token), "encoding"},
		"another case":        {with("POST", "", form, "Logout_Token="+token), "missing"},
		"nothing":             {with("POST", "", form, ""), "missing"},
		"16 kB":               {with("POST", "", form, "logout_token="+token+"&x="+strings.Repeat("x", 16<<10-len(token)-len("logout_token=&x="))), ""},
		"16 kB and a byte":    {with("POST", "", form, "logout_token="+token+"&x="+strings.Repeat("x", 16<<10-len(token)-len("logout_token=&x=")+1)), "size"},
		"iss a number":        {with("POST", "", form, "logout_token=e30.eyJpc3MiOjd9.e30"), "iss"},
		"no JWT":              {with("POST", "", form, "logout_token=x"), "format"},
		"a body that breaks":  {post(form, broken{}), "body"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := client.ReadLogoutRequest(tt.r)
			if tt.reason != "" {
				wantLogout(t, err, tt.reason)
			} else if err != nil || l.UnverifiedIssuer() != "i" {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := client.ReadLogoutRequest(&http.Request{Method: "POST", URL: &url.URL{}, Header: http.Header{"Content-Type": {form}}}); !errors.Is(err, client.ErrLogoutToken) {
		t.Errorf("no body at all: %v", err)
	}
}
