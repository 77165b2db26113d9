package hub

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/internal/report"
)

func TestWhatManyClustersTellIsSummedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c summaries
		var mu sync.Mutex // guards told
		var told []string
		tell := func(kustomization string, clusters ...int) {
			for _, n := range clusters {
				c.record(summaryKey{types.NamespacedName{Name: kustomization}, "Pruned"}, fmt.Sprint(n), func(more report.Summary) {
					mu.Lock()
					defer mu.Unlock()
					told = append(told, fmt.Sprintf("%s %d%s", kustomization, n, more.Message()))
				})
			}
		}
		expect := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if diff := cmp.Diff(want, told); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
			told = nil
		}
		tell("a", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
		tell("b", 1)
		expect("at once", "a 1", "a 2", "a 3", "a 4", "a 5", "a 6", "a 7", "a 8", "a 9", "a 10", "b 1")
		time.Sleep(summaryEvery)
		expect("a while later", "a 13; and 2 more events like this: 11, 12")
		tell("a", 14)
		expect("while it goes on")
		time.Sleep(summaryEvery)
		expect("one alone", "a 14")
		time.Sleep(summaryEvery)
		synctest.Wait()
		if len(c.recent) > 0 {
			t.Errorf("what is over is remembered: %v", c.recent)
		}
		tell("a", 1)
		expect("the next time", "a 1")
	})
}
