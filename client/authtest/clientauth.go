package authtest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
)

// authenticate tells which client sent a request to the token, revocation or
// introspection endpoint. On failure it returns the answer to give.
func (s *Server) authenticate(x *exchange) (Client, *Response) {
	if x.formErr {
		// RFC 6749 §3.2
		return Client{}, x.fail(http.StatusBadRequest, &protocolError{"invalid_request", "the body is not form-urlencoded"})
	}
	if repeated(x.Form) {
		return Client{}, x.fail(http.StatusBadRequest, &protocolError{"invalid_request", "a parameter is there twice"})
	}
	for name := range x.Query {
		// OAuth 2.1 §2.4.1: never in the URI; RFC 6749 §3.2: only in the body.
		switch name {
		case "client_id", "client_secret", "grant_type", "code", "code_verifier", "refresh_token", "token":
			return Client{}, x.fail(http.StatusBadRequest, &protocolError{"invalid_request", "a parameter is in the URL"})
		}
	}
	headers := x.Header.Values("Authorization")
	bodyID, bodySecret := value(x.Form, "client_id"), value(x.Form, "client_secret")
	var c Client
	var known, ok bool
	switch {
	case len(headers) > 1 || len(headers) == 1 && bodySecret != "" || x.Form.Has("client_assertion"):
		// OAuth 2.1 §2.4
		return Client{}, x.fail(http.StatusBadRequest, &protocolError{"invalid_request", "more than one, or an unsupported, method of client authentication"})
	case len(headers) == 1:
		id, secret, valid := parseBasic(headers[0])
		c, known = s.client(id)
		ok = valid && known && c.AuthMethod != post && c.Secret != "" && sameSecret(c.Secret, secret)
		if ok && bodyID != "" && bodyID != id {
			return Client{}, x.fail(http.StatusBadRequest, &protocolError{"invalid_request", "two different client identifiers"})
		}
	case bodySecret != "":
		c, known = s.client(bodyID)
		ok = known && c.AuthMethod != basic && c.Secret != "" && sameSecret(c.Secret, bodySecret)
	default:
		c, known = s.client(bodyID)
		ok = known && c.Secret == ""
	}
	if !ok {
		r := x.fail(http.StatusUnauthorized, &protocolError{"invalid_client", "client authentication failed"})
		// RFC 6749 §5.2
		r.Header.Set("WWW-Authenticate", `Basic realm="authtest", charset="UTF-8"`)
		return Client{}, r
	}
	return c, nil
}

// parseBasic reads the Authorization header of client_secret_basic. The parts
// are form-urlencoded before they are joined (RFC 6749 §2.3.1): a client that
// forgets it works until a secret holds one of the characters concerned, so
// characters that an encoder would not have left are refused here.
func parseBasic(header string) (id, secret string, ok bool) {
	scheme, credentials, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	text, err := base64.StdEncoding.Strict().DecodeString(credentials)
	if err != nil {
		return "", "", false
	}
	rawID, rawSecret, found := strings.Cut(string(text), ":")
	if !found {
		return "", "", false
	}
	id, idOK := formDecode(rawID)
	secret, secretOK := formDecode(rawSecret)
	return id, secret, idOK && secretOK
}

func formDecode(s string) (string, bool) {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~*+%", c) >= 0:
		default:
			return "", false
		}
	}
	out, err := url.QueryUnescape(s)
	return out, err == nil
}

// sameSecret compares in constant time, also for different lengths.
func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
