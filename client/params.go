package client

import (
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"
)

// param is one parameter of a query or a form, decoded, in order.
type param struct{ name, value string }

var errParams = errors.New("sallyport: malformed parameters")

// maxParams bounds the work on a stranger's query (ATK-L34).
const maxParams = 100

// parseParams decodes application/x-www-form-urlencoded strictly: every percent
// sign starts two hex digits, the result is UTF-8, and ";" is no separator
// (ATK-L35). net/url.ParseQuery keeps what it could parse beside its error and
// sorts nothing out; here a malformed part refuses the whole.
func parseParams(s string) ([]param, error) {
	if s == "" {
		return nil, nil
	}
	if strings.Contains(s, ";") {
		return nil, errParams
	}
	n := strings.Count(s, "&") + 1
	if n > maxParams {
		return nil, errParams
	}
	params := make([]param, 0, n)
	for part := range strings.SplitSeq(s, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(k)
		if err != nil {
			return nil, errParams
		}
		value, err := url.QueryUnescape(v)
		if err != nil || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, errParams
		}
		params = append(params, param{name, value})
	}
	return params, nil
}

// protocolParams are the authorization request's own: extra parameters that
// name one are refused, so that nothing can overwrite what this package sends.
var protocolParams = func() map[string]bool {
	m := map[string]bool{}
	for _, p := range []string{
		"client_id", "client_secret", "client_assertion", "client_assertion_type", "redirect_uri", "response_type", "response_mode",
		"scope", "state", "nonce", "code_challenge", "code_challenge_method", "request", "request_uri", "max_age", "prompt",
		"acr_values", "login_hint", "claims", "resource", "dpop_jkt", "authorization_details", "registration", "id_token_hint",
		"code", "code_verifier", "grant_type", "iss", "error",
	} {
		m[p] = true
	}
	return m
}()

// plainName is the name that the laxest server might read: some ignore case and
// blanks, PHP reads "redirect uri" and "redirect.uri" as redirect_uri, PHP and
// Rails read "state[]" as state.
func plainName(name string) string {
	name, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(name)), "[")
	return strings.NewReplacer(" ", "_", ".", "_").Replace(strings.TrimSpace(name))
}

func checkExtra(extra url.Values) error {
	for name, values := range extra {
		if n := plainName(name); protocolParams[n] || n == "" || len(values) != 1 {
			return configError("extra_parameter", "an extra authorization parameter is empty, repeated, or names a parameter of the protocol: use the field that is there for it")
		}
	}
	return nil
}
