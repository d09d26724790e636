package intercomtest

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkDetail reads conversations over loopback, client and server in one
// process; see BenchmarkDetailHandler for the server alone.
func BenchmarkDetail(b *testing.B) {
	s := Start(b, Options{Seed: 1, Conversations: 20_000})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	var next, bytes atomic.Int64
	b.ResetTimer()
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				i := int(next.Add(1))
				if i > b.N {
					return
				}
				req, _ := http.NewRequest("GET", s.URL+"/conversations/"+conversationID(i%20_000), nil)
				req.Header.Set("Authorization", "Bearer "+s.Token)
				req.Header.Set("Accept", "application/json")
				res, err := client.Do(req)
				if err != nil {
					b.Error(err)
					return
				}
				n, _ := io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				bytes.Add(n)
			}
		}()
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "details/s")
	b.ReportMetric(float64(bytes.Load())/float64(b.N), "bytes/detail")
}

// nowhere is a ResponseWriter that keeps nothing.
type nowhere struct{ h http.Header }

func (n nowhere) Header() http.Header         { return n.h }
func (n nowhere) WriteHeader(int)             {}
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkDetailHandler is a detail without network and HTTP.
func BenchmarkDetailHandler(b *testing.B) {
	w, err := New(Options{Seed: 1, Conversations: 20_000})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		req, _ := http.NewRequest("GET", "/conversations/"+conversationID(i%20_000), nil)
		req.Header.Set("Authorization", "Bearer "+w.opts.Token)
		req.Header.Set("Accept", "application/json")
		w.ServeHTTP(nowhere{http.Header{}}, req)
	}
}
