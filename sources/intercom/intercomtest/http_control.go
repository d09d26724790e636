package intercomtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
)

// serveControl serves /_sim/, which no token guards and only this machine may
// use. Names and shapes are described in the package comment.
func (w *Workspace) serveControl(rw http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err == nil {
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			http.Error(rw, "only from this machine", http.StatusForbidden)
			return
		}
	}
	reply := func(v any) {
		rw.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(rw)
		e.SetIndent("", "  ")
		_ = e.Encode(v) // the client is gone
	}
	bad := func(err error) { http.Error(rw, err.Error(), http.StatusBadRequest) }
	switch r.Method + " " + r.URL.Path {
	case "GET /_sim/stats":
		reply(w.Stats())
	case "DELETE /_sim/stats":
		w.ResetStats()
		reply(w.Stats())
	case "GET /_sim/ledger":
		out := bufio.NewWriterSize(rw, 64<<10)
		rw.Header().Set("Content-Type", "application/x-ndjson")
		if err := w.Ledger().WriteJSON(out, Kind(r.URL.Query().Get("kind"))); err != nil {
			bad(err)
			return
		}
		_ = out.Flush() // the client is gone
	case "GET /_sim/faults":
		reply(w.Faults())
	case "DELETE /_sim/faults":
		if err := w.SetFaults(); err != nil {
			bad(err)
			return
		}
		reply(w.Faults())
	case "PUT /_sim/faults", "POST /_sim/faults":
		body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, 1<<20))
		if err != nil {
			bad(err)
			return
		}
		faults, err := decodeFaults(body)
		if err == nil {
			err = w.SetFaults(faults...)
		}
		if err != nil {
			bad(err)
			return
		}
		reply(w.Faults())
	case "POST /_sim/change":
		w.serveChanges(rw, r, reply, bad)
	default:
		http.Error(rw, "want GET or DELETE /_sim/stats, GET /_sim/ledger, GET, PUT or DELETE /_sim/faults, POST /_sim/change", http.StatusNotFound)
	}
}

// decodeFaults takes a JSON list or the text form of ParseFaults.
func decodeFaults(body []byte) ([]Fault, error) {
	var list []Fault
	if len(body) > 0 && body[0] == '[' {
		if err := json.Unmarshal(body, &list); err != nil {
			return nil, fmt.Errorf("read faults: %w", err)
		}
		return list, nil
	}
	return ParseFaults(string(body))
}

// serveChanges applies a stream of changes, one JSON object after the other.
func (w *Workspace) serveChanges(rw http.ResponseWriter, r *http.Request, reply func(any), bad func(error)) {
	in := json.NewDecoder(http.MaxBytesReader(rw, r.Body, 64<<20))
	in.DisallowUnknownFields()
	ids := [][]string{}
	for {
		var c Change
		if err := in.Decode(&c); err == io.EOF {
			break
		} else if err != nil {
			bad(fmt.Errorf("read change %d: %w", len(ids)+1, err))
			return
		}
		got, err := w.Apply(c)
		if err != nil {
			bad(fmt.Errorf("change %d: %w", len(ids)+1, err))
			return
		}
		ids = append(ids, got)
	}
	reply(map[string]any{"ids": ids})
}
