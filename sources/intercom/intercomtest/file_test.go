package intercomtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// getFile asks for a file as a reader does.
func getFile(t *testing.T, address string, header ...string) (*http.Response, []byte, error) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, body, err
}

var fileAddresses = regexp.MustCompile(`https?://[^"\\ ]+/(?:i/o|t)/[^"\\ ]+`)

// filesOf are the addresses in the API's own words, signature and all, by what they are without it.
func filesOf(s *Server, kind Kind, id string) map[string]string {
	var e encoder
	v := view{w: s.Workspace, now: s.now(), version: version216, tickets: true}
	i, _ := s.find(kind, id)
	if kind == Tickets {
		e.ticket(s.ticket(i), &v)
	} else {
		e.conversation(s.conversation(i), &v, true)
	}
	found := map[string]string{}
	for _, address := range fileAddresses.FindAllString(strings.ReplaceAll(string(e.b), "&amp;", "&"), -1) {
		plain, _, _ := strings.Cut(address, "?")
		found[plain] = address
	}
	return found
}

func TestEveryFileOfTheLedgerIsNamedAndServed(t *testing.T) {
	s := Start(t, Options{Seed: 3, Conversations: 60, Tickets: 60, Files: true})
	files, sizes := 0, map[int]bool{}
	named := map[string]int{}
	for f := range s.Ledger().Files() {
		files++
		sizes[f.Size] = true
		addresses := filesOf(s, f.Kind, f.ObjectID)
		named[f.ObjectID] = len(addresses)
		response, body, err := getFile(t, addresses[f.URL])
		sum := sha256.Sum256(body)
		if err != nil || response.StatusCode != 200 || len(body) != f.Size || hex.EncodeToString(sum[:]) != f.SHA256 || response.ContentLength != int64(f.Size) {
			t.Errorf("%+v is served as %d bytes, %x, %v", f, len(body), sum, err)
		}
	}
	for id := range s.Ledger().IDs(Conversations) {
		if named[id] == 0 && len(filesOf(s, Conversations, id)) > 0 {
			t.Errorf("conversation %s names files that the ledger does not", id)
		}
	}
	if files < 30 || len(sizes) < 20 {
		t.Errorf("%d files of %d sizes", files, len(sizes))
	}
	if v := s.Stats().Violations; len(v) > 0 {
		t.Errorf("violations %v", v)
	}
	if n := s.Stats().Endpoints[fileEndpoint]; n != int64(files) {
		t.Errorf("%d requests counted, %d made", n, files)
	}
}

func TestAnAddressOfAFileRunsOutAndCannotBeChanged(t *testing.T) {
	var ahead time.Duration
	s := Start(t, Options{Seed: 3, Conversations: 60, Files: true, FileLife: time.Minute, Now: func() time.Time { return time.Now().Add(ahead) }})
	var address string
	for f := range s.Ledger().Files() {
		address = filesOf(s, f.Kind, f.ObjectID)[f.URL]
		break
	}
	status := func(address string, header ...string) int {
		t.Helper()
		response, _, err := getFile(t, address, header...)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode
	}
	for changed, want := range map[string]int{
		address: 200, strings.Replace(address, "expires=1", "expires=2", 1): 403, strings.Replace(address, "signature=", "signature=0", 1): 403,
		strings.Replace(address, "/i/o/", "/i/o/x", 1): 404, address[:strings.IndexByte(address, '?')]: 403, s.URL + "/i/o/": 404,
	} {
		if got := status(changed); got != want {
			t.Errorf("%s: %d, want %d", changed, got, want)
		}
	}
	ahead = time.Minute
	if got := status(address); got != 403 {
		t.Errorf("after its life: %d", got)
	}
	ahead = 0
	for _, header := range []string{"Authorization", "Cookie", "Referer"} {
		s.ResetStats()
		if got := status(address, header, "x"); got != 200 || len(s.Stats().Violations) != 1 {
			t.Errorf("with %s: %d, violations %v", header, got, s.Stats().Violations)
		}
	}
}

func TestFilesGoWrongAsTold(t *testing.T) {
	s := Start(t, Options{Seed: 3, Conversations: 60, Files: true, FileSize: 3000})
	var address string
	for f := range s.Ledger().Files() {
		address = filesOf(s, f.Kind, f.ObjectID)[f.URL]
		break
	}
	for kind, want := range map[FaultKind]struct {
		status, bytes int
		fails         bool
	}{
		Fault429: {429, -1, false}, FaultServerError: {500, -1, false}, FaultHTML: {504, -1, false}, FaultReset: {0, 0, true}, FaultTruncated: {200, 1500, true},
		FaultShortLength: {200, 2000, false}, FaultEmptyBody: {200, 0, false}, FaultNotFound: {404, -1, false}, FaultExpired: {403, -1, false},
		FaultRedirect: {302, -1, false}, FaultHuge: {200, 10_000, false}, FaultStallLate: {200, 1500, true}, FaultSlow: {200, 3000, false},
	} {
		fault := Fault{Kind: kind, Path: "GET /i/o/*/*/*/*", Bytes: 10_000, For: 10 * time.Millisecond, Location: "https://elsewhere.example/"}
		if err := s.SetFaults(fault); err != nil {
			t.Fatal(err)
		}
		response, body, err := getFile(t, address)
		if err != nil && response == nil {
			if want.status != 0 && !(want.fails && errors.Is(err, io.ErrUnexpectedEOF)) {
				t.Errorf("%s: %v", kind, err)
			}
		} else if response.StatusCode != want.status || want.bytes >= 0 && len(body) != want.bytes || (err != nil) != want.fails {
			t.Errorf("%s: status %d, %d bytes, %v; want %+v", kind, response.StatusCode, len(body), err, want)
		}
		if n := s.Stats().Faults[kind]; n == 0 {
			t.Errorf("%s is not counted", kind)
		}
		if kind == FaultRedirect && response.Header.Get("Location") != fault.Location {
			t.Errorf("it leads to %q", response.Header.Get("Location"))
		}
	}
}

// Without files nothing depends on where the workspace listens, so that rows of two of them can be compared.
func TestWithoutFilesNoAddressNamesTheServer(t *testing.T) {
	var dumps []string
	for range 2 {
		s := Start(t, Options{Seed: 3, Conversations: 40, Now: func() time.Time { return time.Unix(1_800_000_000, 0) }})
		var all bytes.Buffer
		for id := range s.Ledger().IDs(Conversations) {
			plain := map[string]bool{}
			for address := range maps.Keys(filesOf(s, Conversations, id)) {
				plain[address] = true
			}
			if err := json.NewEncoder(&all).Encode(plain); err != nil {
				t.Fatal(err)
			}
		}
		for f := range s.Ledger().Files() {
			t.Errorf("there is a file %+v", f)
		}
		dumps = append(dumps, all.String())
	}
	if dumps[0] != dumps[1] || !strings.Contains(dumps[0], exampleFiles) || strings.Contains(dumps[0], "127.0.0.1") {
		t.Error("addresses depend on the server")
	}
}
