package rollout

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func oneWindow(t *testing.T, schedule string, length time.Duration, zone string) windows {
	t.Helper()
	ws, err := readWindows([]v1alpha1.RolloutWindow{{Schedule: schedule, Duration: metav1.Duration{Duration: length}, TimeZone: zone}})
	if err != nil {
		t.Fatal(err)
	}
	return ws
}

func utc(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestWindowOpens names when a window opens after a time, where clocks are changed and where not.
// In 2026 Berlin goes from 02:00 to 03:00 on March 29 and from 03:00 back to 02:00 on October 25; Lord
// Howe goes by half an hour; Samoa skipped December 30, 2011; Santiago skips midnight.
func TestWindowOpens(t *testing.T) {
	tests := map[string]struct {
		schedule, zone, after string
		want                  []string
	}{
		"without a zone":                   {"0 2 * * *", "", "2026-03-28T03:00:00Z", []string{"2026-03-29T02:00:00Z", "2026-03-30T02:00:00Z"}},
		"hour that is skipped, later":      {"0 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", []string{"2026-03-28T01:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
		"minute in an hour that is":        {"30 2 * * 0", "Europe/Berlin", "2026-03-27T12:00:00Z", []string{"2026-03-29T01:30:00Z", "2026-04-05T00:30:00Z"}},
		"asked within the skipped hour":    {"30 2 * * *", "Europe/Berlin", "2026-03-29T01:10:00Z", []string{"2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"}},
		"hour that comes twice, once":      {"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		"asked between the two":            {"30 2 * * *", "Europe/Berlin", "2026-10-25T00:45:00Z", []string{"2026-10-26T01:30:00Z"}},
		"asked in the second of them":      {"45 2 * * *", "Europe/Berlin", "2026-10-25T01:15:00Z", []string{"2026-10-26T01:45:00Z"}},
		"after the hours that come twice":  {"0 3 * * *", "Europe/Berlin", "2026-10-25T01:15:00Z", []string{"2026-10-25T02:00:00Z"}},
		"half an hour":                     {"15 2 * * *", "Australia/Lord_Howe", "2026-10-02T12:00:00Z", []string{"2026-10-02T15:45:00Z", "2026-10-03T15:45:00Z", "2026-10-04T15:15:00Z"}},
		"midnight that is skipped":         {"0 0 * * *", "America/Santiago", "2026-09-05T12:00:00Z", []string{"2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"}},
		"a day that was skipped":           {"0 9 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", []string{"2011-12-29T19:00:00Z", "2011-12-30T19:00:00Z"}},
		"day of month or week, as in cron": {"0 0 13 * 5", "", "2026-03-07T00:00:00Z", []string{"2026-03-13T00:00:00Z", "2026-03-20T00:00:00Z"}},
		"a leap day":                       {"0 0 29 2 *", "", "2026-03-07T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ws, at := oneWindow(t, tt.schedule, time.Hour, tt.zone), utc(t, tt.after)
			for _, want := range tt.want {
				if at = ws.next(at); !at.Equal(utc(t, want)) {
					t.Fatalf("opens %s, want %s", at.UTC().Format(time.RFC3339), want)
				}
				if ws.open(at.Add(-time.Second)) || !ws.open(at) || !ws.open(at.Add(time.Hour-time.Nanosecond)) || ws.open(at.Add(time.Hour)) {
					t.Errorf("is not open for an hour from %s", at)
				}
			}
		})
	}
}

// TestWindowsAgree goes through a year minute by minute: a window is open if and only if it opened
// less than its length ago.
func TestWindowsAgree(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe"} {
		t.Run(zone, func(t *testing.T) {
			ws := oneWindow(t, "*/45 2,22 * * 0,3", 50*time.Minute, zone)
			from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			next, until, opened := ws.next(from.Add(-time.Minute)), from, 0
			for at := from; at.Year() == 2026; at = at.Add(3 * time.Minute) {
				for !next.After(at) {
					until, next = next.Add(50*time.Minute), ws.next(next)
					opened++
				}
				if open := at.Before(until); open != ws.open(at) {
					t.Fatalf("at %s it is %t that it is open", at, ws.open(at))
				}
			}
			if opened < 300 {
				t.Errorf("opened %d times a year", opened)
			}
		})
	}
}

// TestWindowsOverlap: a long window is open while shorter ones open in it, and after they closed.
func TestWindowsOverlap(t *testing.T) {
	ws := append(oneWindow(t, "0 22 * * 5", 60*time.Hour, ""), oneWindow(t, "0 3 * * *", time.Hour, "")...)
	for at, want := range map[string]bool{
		"2026-11-20T21:59:59Z": false, "2026-11-20T22:00:00Z": true, "2026-11-21T03:30:00Z": true, "2026-11-21T05:00:00Z": true,
		"2026-11-23T09:59:59Z": true, "2026-11-23T10:00:00Z": false, "2026-11-24T03:00:00Z": true, "2026-11-24T04:00:00Z": false,
	} {
		if got := ws.open(utc(t, at)); got != want {
			t.Errorf("at %s open is %t", at, got)
		}
	}
	if always := (windows{}); !always.open(reference) {
		t.Error("without windows it is open at any time")
	}
}
