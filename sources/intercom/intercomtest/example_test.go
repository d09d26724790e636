package intercomtest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"haloingest/sources/intercom/intercomtest"
)

// A workspace is an http.Handler, so any server will do; tests use Start.
func Example() {
	sim, err := intercomtest.New(intercomtest.Options{Seed: 1, Conversations: 1_000_000, RateLimit: 10_000})
	if err != nil {
		panic(err)
	}
	srv := httptest.NewServer(sim)
	defer srv.Close()

	req, err := http.NewRequest("GET", srv.URL+"/conversations?per_page=150", nil)
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+intercomtest.TestToken)
	req.Header.Set("Accept", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	defer res.Body.Close()
	fmt.Println(res.Status, res.Header.Get("X-RateLimit-Limit"), res.Header.Get("X-RateLimit-Remaining"))
	fmt.Println(sim.Ledger().Counts().Conversations, "conversations")
	// Output:
	// 200 OK 1667 1666
	// 1000000 conversations
}
