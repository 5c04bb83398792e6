/* Sets the theme that was chosen before anything is painted, so that nothing flashes. */
try {
  var chosen = localStorage.getItem('halcyon.theme');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
} catch (_) {
  /* No storage: the system's theme it is. */
}
