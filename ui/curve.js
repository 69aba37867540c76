// The loss curves on a canvas, in the page's own colours, read at the moment of drawing. `props.value` is live.curve(),
// with a pulse where the page is behind in other things than the curve: watch.catch_up sends those.
const canvas = element.querySelector('canvas');
const EDGE = { left: 52, right: 14, top: 26, bottom: 40 };

function ticks(low, high, wanted, whole) {
  const rough = Math.max((high - low) / wanted, whole ? 1 : 1e-6);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((n) => n * power >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(Number(at.toPrecision(10)));
  return found;
}

// "1 2.345;2 2.017" -> [[1, 2.345], [2, 2.017]]
function unpacked(text) {
  return text ? text.split(';').map((point) => point.split(' ').map(Number)) : [];
}

function span(values) {
  const low = Math.min(0, ...values), high = Math.max(...values);
  return [low, high > low ? high * 1.05 : low + 1];
}

function line(pen, points, color, width, dots) {
  pen.strokeStyle = pen.fillStyle = color;
  pen.lineWidth = width;
  pen.beginPath();
  points.forEach(([x, y], place) => (place ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
  for (const [x, y] of dots) {
    pen.beginPath();
    pen.arc(x, y, width + 1.2, 0, 7);
    pen.fill();
  }
}

function axes(pen, size, color, value, steps, [low, high], place) {
  pen.font = '12px system-ui, sans-serif';
  pen.lineWidth = 1;
  pen.strokeStyle = color('--line');
  pen.fillStyle = color('--faint');
  pen.textBaseline = 'middle';
  pen.textAlign = 'right';
  for (const tick of ticks(low, high, 4, false)) {
    const y = place([0, tick])[1];
    pen.beginPath();
    pen.moveTo(EDGE.left, y);
    pen.lineTo(size.width - EDGE.right, y);
    pen.stroke();
    pen.fillText(String(tick), EDGE.left - 8, y);
  }
  pen.textAlign = 'center';
  for (const tick of ticks(0, steps, Math.max(2, size.width / 110), true)) {
    pen.fillText(tick.toLocaleString('en'), place([tick, 0])[0], size.height - EDGE.bottom + 12);
  }
  pen.fillText(value.x, (EDGE.left + size.width - EDGE.right) / 2, size.height - 8);
  pen.textAlign = 'left';
  pen.fillText(value.y, 4, 10);
}

function draw() {
  const value = props.value;
  const size = canvas.getBoundingClientRect();
  if (!value || !size.width) return;
  const style = getComputedStyle(element), color = (name) => style.getPropertyValue(name).trim();
  const ratio = window.devicePixelRatio || 1;
  canvas.width = size.width * ratio;
  canvas.height = size.height * ratio;
  canvas.setAttribute('aria-label', value.said);
  const pen = canvas.getContext('2d');
  pen.scale(ratio, ratio);
  const losses = unpacked(value.train), looks = unpacked(value.validation), every = [...losses, ...looks];
  if (!every.length) {
    pen.font = '14px system-ui, sans-serif';
    pen.fillStyle = color('--faint');
    pen.textAlign = 'center';
    pen.fillText(value.said, size.width / 2, size.height / 2);
    return;
  }
  const steps = Math.max(value.steps, ...every.map(([step]) => step), 1);
  const [low, high] = span(every.map(([, loss]) => loss));
  const place = ([step, loss]) => [
    EDGE.left + (step / steps) * (size.width - EDGE.left - EDGE.right),
    EDGE.top + ((high - loss) / (high - low)) * (size.height - EDGE.top - EDGE.bottom),
  ];
  axes(pen, size, color, value, steps, [low, high], place);
  const train = losses.map(place), validation = looks.map(place);
  line(pen, train, color('--side-base'), 1.2, train.length === 1 ? train : []);
  line(pen, validation, color('--side-tuned'), 2.6, validation);
}

watch('value', () => {
  if (props.value?.pulse) document.querySelector('#train-behind')?.click();
  draw();
});
new ResizeObserver(draw).observe(canvas);
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ['class'] });
draw();
