package intercom_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"haloingest/sources/intercom/intercomtest"
)

// simulate is set in a copy of the test program that serves a workspace and nothing else, so that a
// benchmark can tell our own processor time from the simulator's.
const simulate = "INTERCOM_BENCH_WORKSPACE"

func TestMain(m *testing.M) {
	if options := os.Getenv(simulate); options != "" {
		serveWorkspace(options)
		return
	}
	os.Exit(m.Run())
}

// serveWorkspace prints the address and serves until standard input ends, which it does when the parent dies.
func serveWorkspace(options string) {
	var o intercomtest.Options
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	o.BaseURL = "http://" + l.Addr().String()
	w, err := intercomtest.New(o)
	if err != nil {
		panic(err)
	}
	go intercomtest.NewHTTPServer(w).Serve(l)
	fmt.Println(o.BaseURL)
	io.Copy(io.Discard, os.Stdin)
}

// workspaceProcess is a simulated workspace in a process of its own.
type workspaceProcess struct{ url string }

func startProcess(tb testing.TB, o intercomtest.Options) workspaceProcess {
	tb.Helper()
	options, err := json.Marshal(map[string]any{
		"Conversations": o.Conversations, "RateLimit": o.RateLimit, "Latency": o.Latency, "OtherAppShare": o.OtherAppShare, "Jitter": o.Jitter,
	})
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), simulate+"="+string(options))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		tb.Fatalf("start the workspace's process: %v", err)
	}
	return workspaceProcess{strings.TrimSpace(line)}
}

// stats are the simulator's own figures.
func (p workspaceProcess) stats(tb testing.TB) intercomtest.Stats {
	tb.Helper()
	response, err := http.Get(p.url + "/_sim/stats")
	if err != nil {
		tb.Fatal(err)
	}
	defer response.Body.Close()
	var st intercomtest.Stats
	if err := json.NewDecoder(response.Body).Decode(&st); err != nil {
		tb.Fatal(err)
	}
	return st
}
