package logins

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
)

// floor is what a login cannot do without: the redirect, one token request by net/http, one signature. It checks nothing
// else and keeps its secrets in memory: a ruler, not a peer.
func floor(issuer string) (*Flow, error) {
	key, err := fetchKey(issuer)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{}
	credentials := base64.StdEncoding.EncodeToString([]byte(clientID + ":" + clientSecret))
	var verifier string
	exchange := func(code string) error {
		form := "grant_type=authorization_code&code=" + code + "&code_verifier=" + verifier + "&redirect_uri=" + url.QueryEscape(redirectURI)
		r, err := http.NewRequestWithContext(context.Background(), "POST", issuer+"/token", strings.NewReader(form))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Authorization", "Basic "+credentials)
		resp, err := transport.RoundTrip(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		_, raw, _ := strings.Cut(string(body), `"id_token":"`)
		raw, _, _ = strings.Cut(raw, `"`)
		return verify(key, raw)
	}
	return &Flow{
		startURL: origin + "/login", done: said,
		start: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			verifier = random(32)
			challenge, state := sha256.Sum256([]byte(verifier)), random(24)
			w.Header().Set("Location", issuer+"/authorize?client_id="+clientID+"&response_type=code&redirect_uri="+url.QueryEscape(redirectURI)+
				"&scope=openid&nonce="+state+"&state="+state+"&code_challenge_method=S256&code_challenge="+base64url(challenge[:]))
			w.WriteHeader(http.StatusFound)
		}),
		callback: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, code, _ := strings.Cut(r.URL.RawQuery, "code=")
			code, _, _ = strings.Cut(code, "&")
			if err := exchange(code); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			_, _ = io.WriteString(w, subject)
		}),
	}, nil
}

func fetchKey(issuer string) (*ecdsa.PublicKey, error) {
	resp, err := http.Get(issuer + "/jwks")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var set struct{ Keys []struct{ X, Y string } }
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil {
		return nil, err
	}
	if len(set.Keys) != 1 {
		return nil, fmt.Errorf("%d keys", len(set.Keys))
	}
	point := []byte{4}
	for _, c := range [...]string{set.Keys[0].X, set.Keys[0].Y} {
		b, err := base64.RawURLEncoding.DecodeString(c)
		if err != nil {
			return nil, err
		}
		point = append(point, b...)
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

func verify(key *ecdsa.PublicKey, token string) error {
	i := strings.LastIndexByte(token, '.')
	sig, err := base64.RawURLEncoding.DecodeString(token[i+1:])
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(token[:max(i, 0)]))
	if len(sig) != 64 || !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		return fmt.Errorf("signature")
	}
	return nil
}
