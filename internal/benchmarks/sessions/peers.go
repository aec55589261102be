package sessions

import (
	"net/http"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// binarySerializer is a securecookie.Serializer over the floor's layout: the least that a Serializer can cost.
type binarySerializer struct{}

func (binarySerializer) Serialize(v any) ([]byte, error) {
	return appendRecord(make([]byte, 0, 2048), v.(*Record)), nil
}

func (binarySerializer) Deserialize(b []byte, v any) error { return parseRecord(b, v.(*Record)) }

func secureCookieBinaryKind() Kind { return secureCookieKind(SecureCookiePlus, binarySerializer{}) }

func secureCookieJSONKind() Kind {
	return secureCookieKind("securecookie + JSON", securecookie.JSONEncoder{})
}

func secureCookieKind(name string, serializer securecookie.Serializer) Kind {
	return Kind{Name: name, New: func() (*Setup, error) {
		codec := securecookie.New(hashKey, blockKey).SetSerializer(serializer)
		s := NewRecord()
		v, err := codec.Encode(cookieName, s)
		if err != nil {
			return nil, err
		}
		return &Setup{
			Cookie: cookieName + "=" + v,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var s Record
				c, err := r.Cookie(cookieName)
				if err != nil || codec.Decode(cookieName, c.Value, &s) != nil {
					refuse(w)
					return
				}
				s.answer(w)
			}),
			Write: func(w http.ResponseWriter, _ *http.Request) error {
				v, err := codec.Encode(cookieName, s)
				http.SetCookie(w, &http.Cookie{Name: cookieName, Value: v, Path: "/", MaxAge: 3600, HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode})
				return err
			},
		}, nil
	}}
}

func gorillaKind() Kind {
	return Kind{Name: GorillaSessions, New: func() (*Setup, error) { return gorillaSetup(sessions.NewCookieStore(hashKey, blockKey)) }}
}

func gorillaSetup(store sessions.Store) (*Setup, error) {
	s := NewRecord()
	write := func(w http.ResponseWriter, r *http.Request) error {
		session, err := store.New(r, cookieName)
		if err != nil {
			return err
		}
		session.Values["at"], session.Values["rt"], session.Values["claims"], session.Values["exp"] = s.AccessToken, s.RefreshToken, s.Claims, s.Expiry
		return store.Save(r, w, session)
	}
	w := NewSink()
	if err := write(w, NewRequest("")); err != nil {
		return nil, err
	}
	return &Setup{
		Cookie: CookieHeader(w.Header()),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, err := store.Get(r, cookieName)
			if err != nil || session.IsNew {
				refuse(w)
				return
			}
			at, _ := session.Values["at"].(string)
			rt, _ := session.Values["rt"].(string)
			claims, _ := session.Values["claims"].(string)
			exp, _ := session.Values["exp"].(int64)
			answer(w, at, rt, claims, exp)
		}),
		Write: write,
	}, nil
}

func scsKind() Kind {
	return Kind{Name: SCS, New: func() (*Setup, error) { return scsSetup(memstore.NewWithCleanupInterval(0)) }}
}

func scsSetup(store scs.Store) (*Setup, error) {
	manager := scs.New()
	manager.Store = store
	manager.Cookie.Name = cookieName
	manager.ErrorFunc = func(w http.ResponseWriter, _ *http.Request, _ error) { refuse(w) } // its own one logs what wrk cuts off at its end
	s := NewRecord()
	w := NewSink()
	manager.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		manager.Put(ctx, "at", s.AccessToken)
		manager.Put(ctx, "rt", s.RefreshToken)
		manager.Put(ctx, "claims", s.Claims)
		manager.Put(ctx, "exp", s.Expiry)
		_, _ = w.Write(hello)
	})).ServeHTTP(w, NewRequest(""))
	return &Setup{
		Cookie: CookieHeader(w.Header()),
		Handler: manager.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx := r.Context()
			answer(w, manager.GetString(ctx, "at"), manager.GetString(ctx, "rt"), manager.GetString(ctx, "claims"), manager.GetInt64(ctx, "exp"))
		})),
	}, nil
}
