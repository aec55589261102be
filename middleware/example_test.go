package middleware_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/middleware"
	"github.com/sallyport/sallyport/session"
)

func hello(w http.ResponseWriter, r *http.Request) {
	s, _ := middleware.FromContext(r.Context())
	fmt.Fprintf(w, "hello %s", s.Subject())
}

func Example() {
	provider, err := client.New(client.Config{Issuer: "https://login.example.com", ClientID: "app", Authentication: client.SecretBasic(client.SecretFile("/run/secrets/oauth")),
		RedirectURI: "https://app.example/auth/callback", Scopes: []string{"openid", "profile", "email", "offline_access"}})
	if err != nil {
		panic(err)
	}
	sessions, err := session.New(session.Config{Keys: [][]byte{session.GenerateKey()}})
	if err != nil {
		panic(err)
	}
	auth, err := middleware.New(sessions, provider)
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", auth.RequireLogin(http.HandlerFunc(hello)))
	server := auth.Handler(mux) // for http.ListenAndServe

	r := httptest.NewRequest("GET", "/reports?year=2026", nil)
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	rec := httptest.NewRecorder()
	server.ServeHTTP(rec, r)
	fmt.Println(rec.Code, rec.Header().Get("Location"))
	// Output: 303 https://app.example/auth/login?return_to=%2Freports%3Fyear%3D2026
}

// A handler that needs a user, tested in one line.
func ExampleWithSession() {
	rec := httptest.NewRecorder()
	hello(rec, middleware.WithSession(httptest.NewRequest("GET", "/", nil), session.Test("alice")))
	fmt.Println(rec.Body)
	// Output: hello alice
}
