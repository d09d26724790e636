package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"haloingest/sources/intercom/intercomtest"
)

// shop is a simulated workspace whose objects can be damaged on their way out, as no simulator would send
// them.
type shop struct {
	*intercomtest.Workspace
	url   string
	token string

	mu      sync.Mutex
	damages []damage
}

// damage replaces a field of one object, or, if its id is *, of all of the kind.
type damage struct {
	kind, id, field string
	value           json.RawMessage
}

func openShop(tb testing.TB, o intercomtest.Options) *shop {
	tb.Helper()
	s := &shop{}
	front := httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	o.BaseURL = "http://" + front.Listener.Addr().String()
	w, err := intercomtest.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	s.Workspace, s.url, s.token = w, o.BaseURL, w.Options().Token
	front.Start()
	tb.Cleanup(func() {
		front.CloseClientConnections()
		front.Close()
	})
	return s
}

func (s *shop) damage(d ...damage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.damages = d
}

func (s *shop) serve(rw http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	damages := s.damages
	s.mu.Unlock()
	if len(damages) == 0 {
		s.ServeHTTP(rw, r)
		return
	}
	sent := httptest.NewRecorder()
	s.ServeHTTP(sent, r)
	body := sent.Body.Bytes()
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if d.Decode(&v) == nil && spoil(v, damages) {
		body, _ = json.Marshal(v) // it came out of a decoder
	}
	for name, values := range sent.Header() {
		rw.Header()[name] = values
	}
	rw.Header().Set("Content-Length", strconv.Itoa(len(body)))
	rw.WriteHeader(sent.Code)
	_, _ = rw.Write(body)
}

// spoil damages the objects wherever they are in v.
func spoil(v any, damages []damage) (done bool) {
	switch v := v.(type) {
	case map[string]any:
		for _, d := range damages {
			if (v["id"] == d.id || d.id == "*") && v["type"] == d.kind {
				v[d.field], done = d.value, true
			}
		}
		for _, inner := range v {
			done = spoil(inner, damages) || done
		}
	case []any:
		for _, inner := range v {
			done = spoil(inner, damages) || done
		}
	}
	return done
}
