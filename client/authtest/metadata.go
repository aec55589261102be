package authtest

import (
	"encoding/json"
	"net/http"
	"slices"
)

const (
	basic = "client_secret_basic"
	post  = "client_secret_post"
)

// serveMetadata answers both well-known paths with one document (OpenID Connect
// Discovery 1.0 §3, RFC 8414 §2, OpenID Connect RP-Initiated Logout 1.0 §2.1,
// OpenID Connect Back-Channel Logout 1.0 §2.1).
func (s *Server) serveMetadata(x *exchange) *Response {
	algs := s.algorithmsInUse()
	if !slices.Contains(algs, "RS256") {
		// OpenID Connect Discovery 1.0 §3: RS256 has to be in the list.
		algs = append(algs, "RS256")
	}
	methods := []string{basic, post, "none"}
	return x.object(http.StatusOK, map[string]any{
		"issuer":                                         s.cfg.Issuer,
		"authorization_endpoint":                         s.url(Authorize),
		"token_endpoint":                                 s.url(Token),
		"jwks_uri":                                       s.url(JWKS),
		"userinfo_endpoint":                              s.url(UserInfo),
		"revocation_endpoint":                            s.url(Revocation),
		"introspection_endpoint":                         s.url(Introspection),
		"end_session_endpoint":                           s.url(EndSession),
		"backchannel_logout_supported":                   true,
		"backchannel_logout_session_supported":           true,
		"scopes_supported":                               []string{"openid", "profile", "email", "address", "phone", "offline_access"},
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query", "form_post"},
		"grant_types_supported":                          []string{"authorization_code", "refresh_token"},
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          algs,
		"userinfo_signing_alg_values_supported":          algs,
		"token_endpoint_auth_methods_supported":          methods,
		"revocation_endpoint_auth_methods_supported":     methods,
		"introspection_endpoint_auth_methods_supported":  methods[:2],
		"code_challenge_methods_supported":               []string{"S256"},
		"acr_values_supported":                           s.cfg.ACRValues,
		"prompt_values_supported":                        prompts,
		"claims_supported":                               s.claimsSupported(),
		"claims_parameter_supported":                     true,
		"request_parameter_supported":                    false,
		"request_uri_parameter_supported":                false,
		"authorization_response_iss_parameter_supported": true,
	})
}

// serveJWKS answers with the key set (RFC 7517 §5) as plain objects, so that a
// fault can edit what go-jose would refuse to write.
func (s *Server) serveJWKS(x *exchange) *Response {
	keys := []any{}
	for _, key := range s.publicKeys() {
		text, err := key.MarshalJSON()
		if err != nil {
			return plain(http.StatusInternalServerError, "cannot encode a key")
		}
		var members map[string]any
		if err := json.Unmarshal(text, &members); err != nil {
			return plain(http.StatusInternalServerError, "cannot encode a key")
		}
		keys = append(keys, members)
	}
	return x.object(http.StatusOK, map[string]any{"keys": keys})
}
