package backchannel

import (
	"mime"
	"net/http"
	"strings"
)

// MediaType returns the media type of an answer in lower case, without its
// parameters. It returns "" if there is none, or more than one Content-Type, or
// one that is malformed, or one that claims a charset other than UTF-8: JSON has
// no other (RFC 8259 §8.1), and a reader that believed it would see other text.
func MediaType(h http.Header) string {
	values := h["Content-Type"]
	if len(values) != 1 {
		return ""
	}
	mediaType, params, err := mime.ParseMediaType(values[0])
	if err != nil {
		return ""
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return ""
	}
	return mediaType
}
