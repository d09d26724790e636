package intercom_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// withFiles is a workspace with files of every sort, small enough to be downloaded many times.
func withFiles(o intercomtest.Options) intercomtest.Options {
	o.Seed, o.Conversations, o.Contacts, o.Companies, o.Tickets, o.Files = 3, 60, 30, -1, 40, true
	if o.FileSize == 0 {
		o.FileSize = 3000
	}
	return o
}

// attachmentsOf opens a folder for the files of a workspace, with short waits.
func attachmentsOf(tb testing.TB, c *intercom.Client, dir string, adjust ...func(*intercom.AttachmentOptions)) *intercom.Attachments {
	tb.Helper()
	o := intercom.AttachmentOptions{Dir: dir, Org: record.UUID{1}}
	for _, f := range adjust {
		f(&o)
	}
	a, err := intercom.NewAttachments(c, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := a.Close(); err != nil {
			tb.Error(err)
		}
	})
	return a
}

// naming reads all objects that can name files, as changes that come to the tap.
func naming(tb testing.TB, c *intercom.Client) (batch pipeline.Batch[record.Change]) {
	tb.Helper()
	for _, s := range []pipeline.Source[record.Object]{
		intercom.NewConversations(c, intercom.StreamOptions{}), intercom.NewTickets(c, intercom.StreamOptions{}),
	} {
		w, err := whole(tb, c, s, nil)
		if err != nil {
			tb.Fatal(err)
		}
		for i := range w.objects {
			o := &w.objects[i]
			batch.Items = append(batch.Items, record.Change{Kind: o.Kind, SourceID: o.ID, Object: o})
		}
	}
	return batch
}

// told is what travels with the batch, by "kind id message n".
func told(tb testing.TB, a *intercom.Attachments, b pipeline.Batch[record.Change]) map[string]record.AttachmentFile {
	tb.Helper()
	files, err := a.Write(tb.Context(), b)
	if err != nil {
		tb.Fatal(err)
	}
	if len(files) != len(b.Items) {
		tb.Errorf("%d of %d objects are told of", len(files), len(b.Items))
	}
	all := map[string]record.AttachmentFile{}
	for i, f := range files {
		o, ok := f.Meta.(record.ObjectAttachments)
		if !ok || o.SourceID != b.Items[i].SourceID {
			tb.Fatalf("file %d tells %+v", i, f)
		}
		for _, x := range o.Files {
			all[fmt.Sprint(o.Kind, " ", o.SourceID, " ", x.MessageID, " ", x.N)] = x
		}
	}
	return all
}

// ledgerFiles are the files that the workspace says that it has, in the same form.
func ledgerFiles(s *intercomtest.Server) map[string]intercomtest.LedgerFile {
	all := map[string]intercomtest.LedgerFile{}
	for f := range s.Ledger().Files() {
		n := f.N
		if f.Inline {
			n += record.InlineBase
		}
		message := f.MessageID
		if f.Attribute != "" {
			message = "ticket_attributes." + f.Attribute
		}
		all[fmt.Sprint(strings.TrimSuffix(string(f.Kind), "s"), " ", f.ObjectID, " ", message, " ", n)] = f
	}
	return all
}

// addresses is how many different files there are.
func addresses(all map[string]intercomtest.LedgerFile) int {
	seen := map[string]bool{}
	for _, f := range all {
		seen[f.URL] = true
	}
	return len(seen)
}

// allSaved compares what is told and what lies in the folder with the ledger. The hashes are computed here.
func allSaved(t *testing.T, s *intercomtest.Server, dir string, got map[string]record.AttachmentFile) {
	t.Helper()
	want := ledgerFiles(s)
	sorts := map[string]int{}
	for place, w := range want {
		g, ok := got[place]
		if !ok {
			t.Errorf("%s is not told of", place)
			continue
		}
		switch {
		case w.Attribute != "":
			sorts["attribute"]++
		case w.Inline:
			sorts["inline"]++
		default:
			sorts["attachment"]++
		}
		if g.Error != "" || g.SHA256 != w.SHA256 || g.Bytes != int64(w.Size) || g.URL != w.URL || w.ContentType != "" && g.ContentType != w.ContentType ||
			w.Name != "" && g.Name != w.Name || g.Size != int64(w.Size) && !w.Inline {
			t.Errorf("%s is told as\n%+v\nand is\n%+v", place, g, w)
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(g.Path)))
		if sum := sha256.Sum256(content); err != nil || hex.EncodeToString(sum[:]) != w.SHA256 {
			t.Errorf("%s: the content of %s has SHA-256 %x (%v), want %s", place, g.Path, sum, err, w.SHA256)
		}
	}
	for place, g := range got {
		if _, ok := want[place]; !ok {
			t.Errorf("%s is told and there is no such file: %+v", place, g)
		}
	}
	if sorts["attachment"] == 0 || sorts["inline"] == 0 || sorts["attribute"] == 0 {
		t.Errorf("the workspace has too few sorts of files: %v", sorts)
	}
	noViolation(t, s)
}

func noViolation(t *testing.T, s *intercomtest.Server) {
	t.Helper()
	if v := s.Stats().Violations; len(v) > 0 {
		t.Errorf("violations, %d: %s", len(v), v[0])
	}
}

func TestFilesAreSavedAsTheWorkspaceHasThem(t *testing.T) {
	s := intercomtest.Start(t, withFiles(intercomtest.Options{}))
	c := connect(t, s)
	dir := filepath.Join(t.TempDir(), "not there yet")
	a := attachmentsOf(t, c, dir)
	got := told(t, a, naming(t, c))
	allSaved(t, s, dir, got)
	if asked, want := s.Stats().Endpoints["GET /i/o/{file}"], addresses(ledgerFiles(s)); asked != int64(want) {
		t.Errorf("%d requests for %d files", asked, want)
	}
	if st := a.Stats(); st.Failed != 0 || st.Saved == 0 || st.Bytes != 3000*st.Saved {
		t.Errorf("statistics %+v", st)
	}
}

// Names and addresses of Intercom's become no names of files, and nobody else may read what is saved.
func TestTheFolderHoldsNothingButHashes(t *testing.T) {
	s := intercomtest.Start(t, withFiles(intercomtest.Options{}))
	c := connect(t, s)
	dir := t.TempDir()
	a := attachmentsOf(t, c, dir)
	b := naming(t, c)
	hostile := fmt.Sprintf(`{"id":"1","source":{"id":"2","body":"","attachments":[
		{"name":"../../../../etc/cron.d/x","url":"%[1]s/i/o/../../../../../tmp/evil?expires=1","content_type":"../x"},
		{"name":"/etc/passwd","url":"%[1]s/etc/passwd"},
		{"name":"a\u0000b","url":"%[1]s/i/o/%%2e%%2e/%%2fetc%%00"}]}}`, s.URL)
	b.Items = append(b.Items, record.Change{Kind: record.KindConversation, SourceID: "../../1", Object: &record.Object{
		Kind: record.KindConversation, ID: "1", Body: []byte(hostile),
	}})
	told(t, a, b)
	allowed := regexp.MustCompile(`^(files(/[0-9a-f]{2}(/[0-9a-f]{64})?)?|links(/[0-9a-f]{2}(/[0-9a-f]{64}\.json)?)?|tmp(/[0-9a-f-]{36})?|\.)$`)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || !allowed.MatchString(filepath.ToSlash(rel)) {
			t.Errorf("there is %s (%v)", rel, err)
		}
		info, err := d.Info()
		if err == nil && rel != "." && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", rel, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsSavedIsCheckedAndNotDownloadedAgain(t *testing.T) {
	s := intercomtest.Start(t, withFiles(intercomtest.Options{}))
	c := connect(t, s)
	dir := t.TempDir()
	b := naming(t, c)
	first := attachmentsOf(t, c, dir)
	got := told(t, first, b)
	names := slices.Sorted(func(yield func(string) bool) {
		for place := range got {
			if !yield(place) {
				return
			}
		}
	})
	// A crash leaves a half-written download behind, and bad luck a changed, a cut and a lost file, and a torn link.
	damaged := map[string]bool{}
	for i, harm := range []func(path string) error{
		func(path string) error {
			content, err := os.ReadFile(path)
			if err == nil {
				content[1000] ^= 1
				err = os.WriteFile(path, content, 0o600)
			}
			return err
		},
		func(path string) error { return os.Truncate(path, 2999) },
		os.Remove,
		func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o600)
			if err == nil {
				_, err = f.WriteString("more")
				f.Close()
			}
			return err
		},
	} {
		x := got[names[i*7]]
		damaged[x.URL] = true
		if err := harm(filepath.Join(dir, filepath.FromSlash(x.Path))); err != nil {
			t.Fatal(err)
		}
	}
	torn := ""
	for _, place := range names {
		if !damaged[got[place].URL] {
			torn = got[place].URL
		}
	}
	sum := sha256.Sum256([]byte(torn))
	name := hex.EncodeToString(sum[:])
	if err := os.WriteFile(filepath.Join(dir, "links", name[:2], name+".json"), []byte(`{"url":"`), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged[torn] = true
	left := filepath.Join(dir, "tmp", record.UUID{1}.String(), "abc")
	other := filepath.Join(dir, "tmp", record.UUID{2}.String(), "abc")
	if err := os.MkdirAll(filepath.Dir(other), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{left, other} {
		if err := os.WriteFile(path, []byte("half a fi"), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	s.ResetStats()
	second := attachmentsOf(t, c, dir)
	if _, err := os.Stat(left); err == nil {
		t.Error("what a dead run was downloading is not swept")
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("what another organisation's run is downloading was swept: %v", err)
	}
	allSaved(t, s, dir, told(t, second, b))
	if asked := s.Stats().Endpoints["GET /i/o/{file}"]; asked != int64(len(damaged)) {
		t.Errorf("%d requests for files, %d were damaged", asked, len(damaged))
	}
}

// Faults that pass cost time, and no file.
func TestNoPassingFaultLosesAFile(t *testing.T) {
	const files = "GET /i/o/*/*/*/*"
	for name, fault := range map[string]intercomtest.Fault{
		"server errors":     {Kind: intercomtest.FaultServerError, Rate: 0.3},
		"too many requests": {Kind: intercomtest.Fault429, Rate: 0.2},
		"wait a second":     {Kind: intercomtest.Fault429, Nth: []int{3, 9}, Headers: intercomtest.HeadersRetryAfter},
		"resets":            {Kind: intercomtest.FaultReset, Rate: 0.3},
		"cut":               {Kind: intercomtest.FaultTruncated, Rate: 0.3},
		"HTML of a proxy":   {Kind: intercomtest.FaultHTML, Rate: 0.3},
		"said to be gzip":   {Kind: intercomtest.FaultBadGzip, Rate: 0.3},
		"empty":             {Kind: intercomtest.FaultEmptyBody, Nth: []int{1, 5, 9}},
		// Of files in texts Intercom states no size.
		"shorter than said": {Kind: intercomtest.FaultShortLength, Path: files + ".pdf", Nth: []int{1}},
		"no answer":         {Kind: intercomtest.FaultStall, Nth: []int{4}},
		"no end":            {Kind: intercomtest.FaultStallLate, Nth: []int{4}},
		"slow":              {Kind: intercomtest.FaultSlowBody, Nth: []int{1}, Bytes: 20_000},
		// Once: a fresh link that is refused, too, is refused for good.
		"a link that ran out": {Kind: intercomtest.FaultExpired, Nth: []int{1}},
		"not there for once":  {Kind: intercomtest.FaultNotFound, Nth: []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := intercomtest.Start(t, withFiles(intercomtest.Options{}))
			c := connect(t, s)
			b := naming(t, c)
			fault.Path = cmp.Or(fault.Path, files)
			if err := s.SetFaults(fault); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			a := attachmentsOf(t, c, dir, func(o *intercom.AttachmentOptions) { o.Attempts, o.Stall = 12, time.Second })
			allSaved(t, s, dir, told(t, a, b))
			if s.Stats().Faults[fault.Kind] == 0 {
				t.Error("the fault did not strike")
			}
		})
	}
}

// Links run out between the reading of an object and the download: the object is read once more, however many files it has.
func TestALinkThatHasRunOutIsRenewedOnce(t *testing.T) {
	var ahead time.Duration
	s := intercomtest.Start(t, withFiles(intercomtest.Options{Now: func() time.Time { return time.Now().Add(ahead) }}))
	c := connect(t, s)
	b := naming(t, c)
	ahead = 31 * time.Minute
	s.ResetStats()
	dir := t.TempDir()
	got := told(t, attachmentsOf(t, c, dir), b)
	allSaved(t, s, dir, got)
	stats, objects := s.Stats(), map[string]bool{}
	for place := range got {
		objects[strings.Join(strings.Fields(place)[:2], " ")] = true
	}
	again := stats.Endpoints["GET /conversations/{id}"] + stats.Endpoints["GET /tickets/{id}"]
	if again == 0 || again > int64(len(objects)) {
		t.Errorf("%d objects were read again, %d name files", again, len(objects))
	}
	if asked, want := stats.Endpoints["GET /i/o/{file}"], 2*int64(addresses(ledgerFiles(s))); asked != want {
		t.Errorf("%d requests for files, want %d", asked, want)
	}
}
