package bucket_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/memblob"

	"haloingest/sinks/parquet"
	"haloingest/sinks/parquet/bucket"
	"haloingest/sinks/parquet/storetest"
)

func TestABucketInMemoryIsAStore(t *testing.T) {
	b := bucket.New(memblob.OpenBucket(nil), "mem://")
	defer b.Close()
	storetest.Run(t, b)
}

func TestABucketOfFilesIsAStore(t *testing.T) {
	files, err := fileblob.OpenBucket(filepath.Join(t.TempDir(), "b"), &fileblob.Options{CreateDir: true, NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		t.Fatal(err)
	}
	b := bucket.New(files, "file://")
	defer b.Close()
	storetest.Run(t, b)
}

// s3 starts a server that speaks S3's protocol, with the bucket "halo", and returns the parameters by which it is found.
func s3(t *testing.T) string {
	backend := s3mem.New()
	if err := backend.CreateBucket("halo"); err != nil {
		t.Fatal(err)
	}
	quiet := log.New(io.Discard, "", 0)
	server := httptest.NewServer(gofakes3.New(backend, gofakes3.WithLogger(gofakes3.StdLog(quiet))).Server())
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	return "?region=us-east-1&use_path_style=true&endpoint=" + url.QueryEscape(server.URL)
}

func TestABucketOnAnS3ServerIsAStore(t *testing.T) {
	parameters := s3(t)
	s, err := bucket.Create(t.Context(), "s3://halo/snapshots/of ours/"+parameters)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	storetest.Run(t, s)

	// The location, given again, is the same place.
	again, err := bucket.Open(t.Context(), s.Location())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.Location() != s.Location() {
		t.Errorf("%s is %s when it is opened again", s.Location(), again.Location())
	}
	there, err := again.List(t.Context(), "pages/b/")
	if err != nil || len(there) != 1 {
		t.Errorf("the store opened again holds %v, %v", there, err)
	}
	// Beside the prefix there is nothing.
	whole, err := bucket.Open(t.Context(), "s3://halo"+parameters)
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	list, err := whole.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if !strings.HasPrefix(e.Path, "snapshots/of ours/") {
			t.Errorf("%s lies outside of the prefix", e.Path)
		}
	}
}

func TestABucketThatIsNotThereIsNamed(t *testing.T) {
	parameters := s3(t)
	_, err := bucket.Create(t.Context(), "s3://other/x"+parameters)
	if !errors.Is(err, parquet.ErrStore) || !strings.Contains(err.Error(), "s3://other/x") || strings.Contains(err.Error(), "planted-secret") {
		t.Errorf("got %v", err)
	}
}

// What a provider says goes into logs: on one line, without the query of an address, in which signatures stand.
func TestErrorsOfAProviderShowNoSignature(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead || r.Method == http.MethodGet && r.URL.Query().Has("list-type") {
			_, _ = io.WriteString(w, `<?xml version="1.0"?><ListBucketResult></ListBucketResult>`)
			return
		}
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "<Error><Code>AccessDenied</Code><Message>see https://x.example/y?sig=planted-signature\nand more</Message></Error>")
	}))
	defer server.Close()
	s3(t) // credentials
	s, err := bucket.Create(t.Context(), "s3://halo?region=us-east-1&use_path_style=true&endpoint="+url.QueryEscape(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Put(t.Context(), "a.parquet", func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err })
	var wrong *parquet.StoreError
	if !errors.As(err, &wrong) || wrong.Op != "write" || !strings.Contains(err.Error(), "AccessDenied") {
		t.Fatalf("got %v", err)
	}
	if text := err.Error(); strings.Contains(text, "planted-signature") || strings.ContainsAny(text, "\r\n") {
		t.Errorf("the error is %q", text)
	}
}

func TestLocationsThatAreNone(t *testing.T) {
	for location, want := range map[string]string{
		"":                             "empty",
		"ftp://host/x":                 "want a folder, or s3://, gs://, azblob://",
		"mem://":                       "want a folder",
		"s3://":                        "names no bucket",
		"s3:///prefix":                 "names no bucket",
		"s3://id:planted@halo/x":       "holds a user name",
		"s3://halo/a//b":               "empty part",
		"s3://halo/../b":               "dots",
		"s3://halo/a#b":                "%23",
		"s3://halo?secret_key=planted": "may hold a secret",
		"azblob://c?sig=planted":       "may hold a secret",
		"s3://halo?no-such=parameter":  "cannot be opened",
		"file://host/path":             "want file:///path",
		"file:///path?x=y":             "want file:///path",
		"s3://%zz":                     "no address",
	} {
		for name, open := range map[string]func() error{
			"Create": func() error { _, err := bucket.Create(t.Context(), location); return err },
			"Open":   func() error { _, err := bucket.Open(t.Context(), location); return err },
		} {
			err := open()
			if !errors.Is(err, parquet.ErrStore) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "planted") {
				t.Errorf("%s(%q): %v, want it to say %q", name, location, err, want)
			}
		}
	}
}

func TestAFolderIsGivenByPathOrByAddress(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "snap shot ü")
	if _, err := bucket.Open(t.Context(), dir); !errors.Is(err, parquet.ErrStore) {
		t.Errorf("a folder that is not there opens: %v", err)
	}
	s, err := bucket.Create(t.Context(), "file://"+(&url.URL{Path: dir}).EscapedPath())
	if err != nil {
		t.Fatal(err)
	}
	if s.Location() != dir {
		t.Errorf("it lies in %s", s.Location())
	}
	if _, err := bucket.Open(t.Context(), dir); err != nil {
		t.Error(err)
	}
	t.Chdir(filepath.Dir(dir))
	if again, err := bucket.Open(t.Context(), filepath.Base(dir)); err != nil || again.Location() != dir {
		t.Errorf("a relative path leads to %v, %v", again, err)
	}
}
