package authtest

import (
	"encoding/json"
	"maps"
	"slices"
)

// scopeClaims are the claims that a scope stands for (OpenID Connect Core §5.4).
var scopeClaims = map[string][]string{
	"profile": {"name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile",
		"picture", "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at"},
	"email":   {"email", "email_verified"},
	"address": {"address"},
	"phone":   {"phone_number", "phone_number_verified"},
}

var claimScope = func() map[string]string {
	out := make(map[string]string)
	for scope, claims := range scopeClaims {
		for _, claim := range claims {
			out[claim] = scope
		}
	}
	return out
}()

// protocolClaims are the server's to say, whatever a user's Claims hold.
var protocolClaims = []string{"iss", "sub", "aud", "exp", "iat", "nbf", "auth_time", "nonce", "acr", "sid", "azp", "at_hash", "c_hash"}

func (s *Server) claimsSupported() []string {
	names := []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "sid", "at_hash"}
	own := make(map[string]bool)
	for _, u := range s.cfg.Users {
		for name := range u.Claims {
			if !slices.Contains(protocolClaims, name) {
				own[name] = true
			}
		}
	}
	return slices.AppendSeq(names, slices.Values(slices.Sorted(maps.Keys(own))))
}

// claimsRequest is the claims parameter (OpenID Connect Core §5.5).
type claimsRequest struct {
	IDToken  map[string]*claimRequest `json:"id_token"`
	UserInfo map[string]*claimRequest `json:"userinfo"`
}

type claimRequest struct {
	Essential bool  `json:"essential"`
	Value     any   `json:"value"`
	Values    []any `json:"values"`
}

func parseClaims(text string) (claimsRequest, *protocolError) {
	var c claimsRequest
	if text == "" {
		return c, nil
	}
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return c, &protocolError{"invalid_request", "claims is no valid claims request"}
	}
	return c, nil
}

// acceptable returns the string values that a claim request asks for.
func (c *claimRequest) acceptable() []string {
	if c == nil {
		return nil
	}
	var out []string
	for _, v := range append([]any{c.Value}, c.Values...) {
		if text, ok := v.(string); ok {
			out = append(out, text)
		}
	}
	return out
}

// release returns a user's claims for the scopes granted and the claims asked for.
func (s *Server) release(subject string, scopes []string, asked map[string]*claimRequest) map[string]any {
	out := map[string]any{"sub": subject}
	u, _ := s.user(subject)
	for name, v := range u.Claims {
		if slices.Contains(protocolClaims, name) {
			continue
		}
		scope, standard := claimScope[name]
		_, named := asked[name]
		if !standard || named || slices.Contains(scopes, scope) {
			out[name] = cloneValue(v)
		}
	}
	return out
}

// idToken makes the ID token of a grant (OpenID Connect Core §2, §3.1.3.6).
func (x *exchange) idToken(s *Server, c Client, g *grant, nonce, accessToken string) (string, error) {
	alg := c.IDTokenAlgorithm
	if alg == "" {
		alg = s.cfg.Algorithm
	}
	now := s.cfg.Now()
	claims := s.release(g.subject, g.scopes, g.claims.IDToken)
	claims["iss"] = s.cfg.Issuer
	claims["aud"] = c.ID
	claims["iat"] = now.Unix()
	claims["exp"] = now.Add(s.cfg.IDTokenLifetime).Unix()
	claims["auth_time"] = g.authTime.Unix()
	claims["acr"] = g.acr
	claims["sid"] = g.sid.String()
	claims["at_hash"] = halfHash(alg, accessToken)
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return x.sign(s.keys.get(alg), claims)
}
