package git

// CachedBytes is how many bytes of folders and files a store keeps in memory.
func CachedBytes(s *Store) int64 {
	s.objects.mu.Lock()
	defer s.objects.mu.Unlock()
	return s.objects.cached.Size()
}
